"""What a submitter keeps in one folder: a batch file, and NAME.options.json beside it.

DIAGNOSTICS
    Fatal: UsageError for a file that is there and cannot be read.
"""

import errno
import os
from pathlib import Path
from typing import BinaryIO

from batchd.core.json import loads
from batchd.core.options import parse_options
from batchd.core.settle import options_name
from batchd.edges.plain import read_plain
from batchd.edges.spool.inbox import OPTIONS_BYTES_MAX
from batchd.errors import UsageError


def opened(path: Path) -> BinaryIO:
    """The batch file; the caller closes it."""
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.", "Give the path of a batch file."
        ) from error


def options_beside(path: Path) -> bytes | None:
    """The options of this batch file, if there are any."""
    options = path.with_name(os.fsdecode(options_name(os.fsencode(path.name))))
    try:
        return read_plain(options, OPTIONS_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # no file can have the name
            return None
        raise UsageError(f"{options} cannot be read: {error.strerror}.", "Mend or remove it.") from error


def checked_options(path: Path) -> dict[str, object]:
    """The options beside this file as they stand there, empty without one. UsageError when they are bad."""
    raw = options_beside(path)
    _, refusals = parse_options(raw)
    if refusals:
        sentences = " ".join(refusal.message for refusal in refusals)
        raise UsageError(f"The options beside {path} are not usable: {sentences}", "Nothing was handed in.")
    value = loads(raw or b"{}")
    assert isinstance(value, dict)  # the options were checked
    return value
