"""`batchd resume`: a paused batch goes on.

SUMMARY
    Whoever paused it: a person, the breaker, or the pilot. What failed before a pause of the breaker is tried
    again.

DIAGNOSTICS
    Fatal: UsageError for a batch that is not there, ConfigError where there is no spool.
"""

from batchd.cli.ask import BatchArgument, ask
from batchd.cli.terminal import SpoolOption, put
from batchd.settings import load_settings


def resume(batch: BatchArgument, spool: SpoolOption = None) -> int:
    """Let a paused batch go on.

    \b
    Example:
      batchd resume batch_1f0c
    """
    found = ask(load_settings({"spool": spool}).spool, batch, "resume")
    if found is not None and not found.is_paused:
        # A status is a second old, and what was paused since goes on all the same.
        put(f"{found.id} was not paused when the daemon last said how it stands; it goes on.")
    else:
        put(f"{batch if found is None else found.id} goes on.")
    return 0
