"""Small file systems of our own: one whose power can be cut, one that is soon full.

SUMMARY
    with PowerDisk(directory) as disk:     ext4 in a loop file on tmpfs
        disk.freeze(); disk.thaw()         from here on it holds what had reached the disk, and nothing else
    with SmallDisk(directory, 12) as disk: tmpfs of so many MiB
        disk.resize(24)

    The cut is a copy of the image that the kernel writes to: what is only in its memory is not in the copy.
    Whoever writes must be stopped or dead. The file system's own timer is slowed down, so that nothing
    becomes durable by waiting.

DIAGNOSTICS
    Skips the test, with the reason, where these need more rights or programs than there are.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Enough for some batches, their journals and results; it is copied at each cut.
IMAGE_MIB = 48
#: The seconds after which ext4 writes what nobody asked it to.
COMMIT_S = 300


def run(*command: str) -> str:
    """Nothing when it succeeded, else why not."""
    if shutil.which(command[0]) is None:
        return f"there is no program {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode == 0 else f"{command[0]}: {done.stderr.strip() or done.returncode}"


def _needed(*command: str) -> None:
    if reason := run(*command):
        pytest.skip(f"a disk of our own cannot be made: {reason}")


def _asserted(*command: str) -> None:
    reason = run(*command)
    assert not reason, reason


class PowerDisk:
    """Starts with the block, ends with it. `path` is where it is mounted."""

    def __init__(self, directory: Path) -> None:
        self._ram = directory / "ram"
        self.path = directory / "disk"
        self._number = 0

    def __enter__(self) -> "PowerDisk":
        self._ram.mkdir()
        self.path.mkdir()
        _needed("mount", "-t", "tmpfs", "-o", f"size={4 * IMAGE_MIB}m", "none", str(self._ram))
        try:
            with self._image().open("wb") as image:
                image.truncate(IMAGE_MIB * 2**20)
            _needed("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image()))
            _needed(*self._mounting())
        except BaseException:
            run("umount", "--lazy", str(self._ram))
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        run("umount", "--lazy", str(self.path))
        run("umount", "--lazy", str(self._ram))

    def freeze(self) -> None:
        """Keep what is on the disk now."""
        old, self._number = self._image(), self._number + 1
        _asserted("cp", "--sparse=always", str(old), str(self._image()))

    def thaw(self) -> None:
        """Use what was kept. Nobody may have the old disk open."""
        old = self._ram / f"image-{self._number - 1}"
        _asserted("umount", str(self.path))
        old.unlink()
        _asserted(*self._mounting())

    def _image(self) -> Path:
        return self._ram / f"image-{self._number}"

    def _mounting(self) -> tuple[str, ...]:
        return ("mount", "-o", f"loop,commit={COMMIT_S}", str(self._image()), str(self.path))


@contextlib.contextmanager
def small_disk(directory: Path, size_mib: float, inodes: int = 0) -> Iterator[Path]:
    """A tmpfs of this size; it holds so many files, or as many as there is memory for."""
    place = directory / "small"
    place.mkdir(exist_ok=True)
    _needed(
        "mount", "-t", "tmpfs", "-o", f"size={int(size_mib * 1024)}k,nr_inodes={inodes}", "none", str(place)
    )
    try:
        yield place
    finally:
        run("umount", "--lazy", str(place))


def resize(place: Path, size_mib: float) -> None:
    """Give a small disk more room, or less."""
    _asserted("mount", "-o", f"remount,size={int(size_mib * 1024)}k", str(place))
