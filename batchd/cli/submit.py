"""`batchd submit`: hand a batch file in, safely, and know its id before it is claimed.

SUMMARY
    The spool's own way in does the work: hidden name, sync, rename, the options first. The options of the
    batch are those that lie beside the file, with the id added; bad ones are refused here, before the
    batch could fail of them.

    With --wait it looks for the result directory until it is there, and believes it only if it is of the
    bytes that were handed in: whoever may read the inbox can hand in something else under the same id. Ctrl-C
    ends the waiting, not the batch.

DIAGNOSTICS
    Fatal: UsageError for a file or options that cannot be handed in, ConfigError where there is no spool,
    SpoolError when the inbox cannot be written, or the result under our id is another file's.
    Warning: waiting while no daemon writes its status.
"""

import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from batchd.cli.beside import checked_options
from batchd.cli.outcome import check_input, closing_words, exit_code, find_result
from batchd.cli.source import Source, refuse_foreign, sources
from batchd.cli.status import is_running, read_report
from batchd.cli.terminal import SpoolOption, put, say
from batchd.edges.spool import submit_file
from batchd.errors import ConfigError, SpoolError, UsageError
from batchd.settings import Settings, load_settings

#: A listing of the outbox costs next to nothing, and a person waits.
_LOOK_INTERVAL_S = 0.5


def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A batch file, JSONL; - for standard input.")],
    spool: SpoolOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait, then print the result directory.")] = False,
) -> int:
    """Hand a batch file in and print the id of its batch.

    Options of the batch are taken from NAME.options.json beside NAME.jsonl, if it is there.

    \b
    Example:
      batchd submit requests.jsonl --wait
    """
    settings = load_settings({"spool": spool})
    with sources([file], settings) as found:
        refuse_foreign(found[0], settings)
        batch_id, sha256 = _handed_in(settings, found[0])
    if not wait:
        return 0
    result = _awaited(settings.spool, settings.spool / "outbox", batch_id)
    check_input(result, sha256)
    put(str(result))
    for sentence in closing_words(result):
        say(sentence)
    return exit_code(result, settings.failed_share_max)


def _handed_in(settings: Settings, source: Source) -> tuple[str, str]:
    """The id of its batch, told, and the SHA-256 (hex) of what was handed in."""
    file = source.given
    options = checked_options(file)
    if options.get("batch_id") is not None:
        # An id that was used before would be another batch's: --wait would hand back its answers.
        raise UsageError(
            f"The options beside {file} name a batch_id, and submit gives each batch its own.",
            "Take the batch_id out of the options file.",
        )
    batch_id = f"batch_{secrets.token_hex(16)}"
    handed_in = submit_file(settings.spool, source.path, source.path.name, {**options, "batch_id": batch_id})
    put(batch_id)
    say(f"Handed in as {handed_in.name}.")
    return batch_id, handed_in.sha256


def _awaited(spool: Path, outbox: Path, batch_id: str) -> Path:
    """The result directory, whenever it comes."""
    try:
        is_at_work = is_running(read_report(spool))
    except (ConfigError, SpoolError):
        is_at_work = False
    if not is_at_work:
        say("No daemon seems to work on this spool. Waiting for one; Ctrl-C ends only the waiting.")
    while (result := find_result(outbox, batch_id)) is None:
        time.sleep(_LOOK_INTERVAL_S)
    return result
