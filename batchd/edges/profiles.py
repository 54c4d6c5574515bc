"""The files of calibrations: one JSON and one picture for each profile, in one directory.

SUMMARY
    save       both files, each complete from its first moment
    read_all   every profile that lies there, with its name

DIAGNOSTICS
    Fatal: ConfigError when the directory cannot be made or written, with the next step.
    None otherwise: a file that cannot be read is left out.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from batchd.errors import ConfigError

#: Of the hash that tells profiles of one model apart.
_KEY_DIGITS = 12

#: A profile has some kB; one beyond this is none of ours.
_FILE_BYTES_MAX = 4 << 20


def key_of(text: bytes) -> str:
    """Short enough for a file name."""
    return hashlib.sha256(text).hexdigest()[:_KEY_DIGITS]


def save(directory: Path, stem: str, profile: bytes, picture: str) -> Path:
    """The path of the profile; the picture lies beside it."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        _write(directory / f"{stem}.svg", picture.encode())
        return _write(directory / f"{stem}.json", profile)
    except OSError as error:
        raise ConfigError(
            f"The profile cannot be written to {directory}: {error.strerror}.",
            "Run it as the user of the daemon (sudo -u batchd), or name a directory with BATCHD_PROFILES.",
        ) from error


def read_all(directory: Path) -> Iterator[tuple[Path, bytes]]:
    """By name; none where there is no directory."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".json")
    except OSError:
        return
    for path in paths:
        try:
            with path.open("rb") as file:
                raw = file.read(_FILE_BYTES_MAX)
        except OSError:
            continue
        yield path, raw


def _write(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.chmod(0o644)
    return part.replace(path)  # no part of the spool, whose renames have one owner
