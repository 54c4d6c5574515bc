"""`batchd pause`: a batch gives way to the others until it is resumed.

DIAGNOSTICS
    Fatal: UsageError for a batch that is not there, ConfigError where there is no spool.
"""

from batchd.cli.ask import BatchArgument, ask
from batchd.cli.terminal import SpoolOption, put
from batchd.core.pause import way_on
from batchd.settings import load_settings


def pause(batch: BatchArgument, spool: SpoolOption = None) -> int:
    """Pause a batch, and let the others go on.

    Nothing new of it is sent; requests that are with the model end normally. A pause outlives the daemon.

    \b
    Example:
      batchd pause reviews.jsonl
    """
    found = ask(load_settings({"spool": spool}).spool, batch, "pause")
    if found is not None and found.is_paused:
        put(f"{found.id} is paused already: {found.detail}")
    else:
        batch_id = batch if found is None else found.id
        named = None if spool is None else str(spool)
        put(f"{batch_id} pauses. To go on, type: {way_on(batch_id, named)}")
    return 0
