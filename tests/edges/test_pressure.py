"""Pressure and control groups, of both versions, from directories that look like the kernel's."""

from pathlib import Path

import pytest

from batchd.edges.pressure import group_bytes, stalled_share

MB = 2**20


class Kernel:
    """Two directories: /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.proc, self.groups = root / "proc", root / "groups"

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def belongs(self, text: str) -> None:
        self.write(self.proc / "self" / "cgroup", text)

    def group(self, place: str, **files: str) -> None:
        for name, text in files.items():
            self.write(self.groups / place / name.replace("__", "."), text)

    def limits(self) -> tuple[int | None, int | None]:
        return group_bytes(self.proc, self.groups)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_the_share_of_the_last_ten_seconds_is_read(kernel: Kernel) -> None:
    text = (
        "some avg10=12.50 avg60=3.00 avg300=0.10 total=99\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=9\n"
    )
    kernel.write(kernel.proc / "pressure" / "memory", text)
    assert stalled_share(kernel.proc, kernel.groups) == 0.125


def test_the_root_group_tells_it_where_proc_is_hidden(kernel: Kernel) -> None:
    kernel.group("", memory__pressure="some avg10=50.00 avg60=3.00 avg300=0.10 total=99\n")
    assert stalled_share(kernel.proc, kernel.groups) == 0.5


@pytest.mark.parametrize("text", [None, "", "some\n", "some avg10=x\n", "full avg10=1.00\n"])
def test_a_kernel_that_does_not_tell_is_no_figure(kernel: Kernel, text: str | None) -> None:
    if text is not None:
        kernel.write(kernel.proc / "pressure" / "memory", text)
    assert stalled_share(kernel.proc, kernel.groups) is None


def test_the_tightest_group_above_us_counts_and_files_count_as_free(kernel: Kernel) -> None:
    kernel.belongs("0::/system.slice/batchd.service\n")
    kernel.group("system.slice", memory__max=f"{100 * MB}", memory__current=f"{90 * MB}")
    kernel.group(
        "system.slice/batchd.service",
        memory__max=f"{50 * MB}",
        memory__high="max",
        memory__current=f"{40 * MB}",
        memory__stat=f"anon 1\ninactive_file {20 * MB}\n",
    )
    assert kernel.limits() == (100 * MB, 90 * MB)
    kernel.group("system.slice", memory__current=f"{10 * MB}")
    assert kernel.limits() == (50 * MB, 20 * MB)


def test_the_soft_limit_counts_where_it_is_lower(kernel: Kernel) -> None:
    kernel.belongs("0::/a\n")
    kernel.group("a", memory__max="max", memory__high="4096", memory__current="1024")
    assert kernel.limits() == (4096, 1024)


def test_the_older_version_is_read_too(kernel: Kernel) -> None:
    kernel.belongs("5:devices:/x\n4:memory,hugetlb:/box\n0::/\n")
    kernel.group(
        "memory/box",
        memory__limit_in_bytes=f"{50 * MB}",
        memory__usage_in_bytes=f"{40 * MB}",
        memory__stat=f"total_inactive_file {10 * MB}\n",
    )
    kernel.group("memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="7")
    assert kernel.limits() == (50 * MB, 30 * MB)


def test_in_a_container_only_the_top_is_ours_to_see(kernel: Kernel) -> None:
    kernel.belongs("0::/../../elsewhere\n")
    kernel.group("", memory__max="4096", memory__current="1024")
    assert kernel.limits() == (4096, 1024)


@pytest.mark.parametrize("belongs", ["", "0::/\n", "4:memory:/\n", "nonsense\n"])
def test_nothing_limits_us_where_nothing_is_said(kernel: Kernel, belongs: str) -> None:
    kernel.belongs(belongs)
    kernel.group("", memory__max="max", memory__current="1024")
    assert kernel.limits() == (None, None)


def test_on_this_machine_it_answers_without_failing() -> None:
    share, (limit, used) = stalled_share(), group_bytes()
    assert share is None or 0 <= share <= 1
    assert (limit is None) == (used is None)
