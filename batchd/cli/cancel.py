"""`batchd cancel`: what is pending in a batch is not executed, and what is answered is published.

DIAGNOSTICS
    Fatal: UsageError for a batch that is not there, ConfigError where there is no spool.
"""

from batchd.cli.ask import BatchArgument, ask
from batchd.cli.terminal import SpoolOption, put
from batchd.settings import load_settings


def cancel(batch: BatchArgument, spool: SpoolOption = None) -> int:
    """Cancel a batch, and publish its answers so far.

    The rest gets error lines, and retry.jsonl in the result directory holds what was not executed.

    \b
    Example:
      batchd cancel reviews.jsonl
    """
    found = ask(load_settings({"spool": spool}).spool, batch, "cancel")
    put(f"{batch if found is None else found.id} is cancelled; its result directory follows.")
    return 0
