"""Sources: batch files of the command line, be they files or pipes.

SUMMARY
    A batch file is read more than once: its hash is its identity, and earlier lines are looked at again. What
    can be read only once (`-`, `<(command)`, a named pipe) is therefore copied first, into a directory of its
    own in TMPDIR that goes when the verb ends. A device has no end, so it is refused.

    `refuse_foreign` says of a whole file of the wrong type what it is and what mends it, before a server is
    waited for or anything is handed in.

DIAGNOSTICS
    Fatal: UsageError for what cannot be read, is too large, or is no JSON Lines; SpoolError where TMPDIR has
    no room for what came through a pipe.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from batchd.cli.beside import opened
from batchd.cli.terminal import say
from batchd.core.filetype import foreign_type
from batchd.core.space import in_units
from batchd.errors import SpoolError, UsageError
from batchd.settings import Settings

STDIN = Path("-")

#: What names of open files look like: they say nothing of what comes through them.
_NAMELESS = ("/dev/", "/proc/")

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """`given` as it was typed, and `path`, a plain file with the same content."""

    given: Path
    path: Path


@contextmanager
def sources(files: Sequence[Path], settings: Settings) -> Iterator[list[Source]]:
    """Each of them as a plain file, for as long as the block runs."""
    piped = [file for file in files if _is_pipe(file)]
    if not piped:
        yield [Source(file, file) for file in files]
        return
    if piped.count(STDIN) > 1:
        raise UsageError("Standard input is named twice.", "It can be read only once.")
    with _directory() as place:
        yield [
            Source(file, _kept(file, Path(place, str(number)), settings) if file in piped else file)
            for number, file in enumerate(files)
        ]


def refuse_foreign(source: Source, settings: Settings) -> None:
    """UsageError for a whole file of the wrong type."""
    with opened(source.path) as file:
        found = foreign_type(file, settings.line_bytes_max)
    if found is not None:
        raise UsageError(
            f"{source.given}: {found.sentence}", "`batchd check NEW.jsonl` reads what comes out."
        )


def _is_pipe(file: Path) -> bool:
    if file == STDIN:
        return True
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):
        return False  # to open it will say why
    if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not _is_terminal(file)):
        raise UsageError(
            f"{file} is a device and no file.", "Give the path of a batch file, or - for a pipe."
        )
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def _is_terminal(file: Path) -> bool:
    try:
        with file.open("rb", buffering=0) as stream:
            return stream.isatty()
    except OSError:
        return False


@contextmanager
def _directory() -> Iterator[str]:
    try:
        place = TemporaryDirectory(prefix="batchd-")
    except OSError as error:
        raise SpoolError(
            f"What comes through a pipe cannot be kept: {error.strerror or error}.",
            "Give a file, or set TMPDIR to a directory that can be written.",
        ) from error
    with place:
        yield place.name


def _kept(file: Path, place: Path, settings: Settings) -> Path:
    """A copy of all that comes through it, under the name that its batch shall have."""
    name = "stdin.jsonl" if file == STDIN or str(file).startswith(_NAMELESS) else file.name
    source = _stdin() if file == STDIN else _read_only(file)
    target = place / name
    try:
        place.mkdir()
        with target.open("wb") as copy:
            size_bytes = 0
            while block := _next_block(source, file):
                size_bytes += len(block)
                if size_bytes > settings.input_bytes_max:
                    raise UsageError(
                        f"More than {in_units(settings.input_bytes_max)} came through {file}.",
                        "Give it in parts, or raise input_bytes_max.",
                    )
                copy.write(block)
    except OSError as error:
        raise SpoolError(
            f"What comes through {file} cannot be kept in {place.parent}: {error.strerror}.",
            "Give a file, or set TMPDIR to a directory with room.",
        ) from error
    finally:
        os.close(source)
    return target


def _stdin() -> int:
    source = os.dup(0)  # it is open: what was closed is /dev/null since the start
    if stat.S_ISCHR(os.fstat(source).st_mode) and not os.isatty(source):
        os.close(source)
        raise UsageError(
            "Standard input is closed, or a device.", "Give the path of a batch file, or a pipe."
        )
    if os.isatty(source):
        say("Reading request lines from the terminal; Ctrl-D ends them.")
    return source


def _read_only(file: Path) -> int:
    try:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(file, error) from error


def _next_block(source: int, file: Path) -> bytes:
    try:
        return os.read(source, _BLOCK_BYTES)
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> UsageError:
    return UsageError(f"{file} cannot be read: {error.strerror}.", "Give the path of a batch file.")
