"""Failpoints: the moments at which a crash leaves something else behind, each with a name.

SUMMARY
    `reach(name)` stands in the code before and after each durable step. It does nothing: one look at a
    global. A test arms it, in the process that shall die there, with a function that is told each name; so
    does the measurement of a slow disk (`tools/slow_disk`).

    NAMES is the whole list, in the order in which a batch passes them. The code and the list name the same
    moments; a test compares the two.

DIAGNOSTICS
    None: no setting and no environment variable arms it.
"""

from collections.abc import Callable

NAMES = (
    # the claim
    "claim.begun",
    "claim.directory_made",
    "claim.orig_made",
    "claim.place_synced",
    "claim.renamed",
    "claim.orig_synced",
    "claim.done",
    "options.begun",
    "options.done",
    # the intake
    "copy.begun",
    "copy.made",
    "copy.written",
    "copy.synced",
    "copy.done",
    "journal.directory_made",
    "journal.made",
    "journal.done",
    "lines.begun",
    "lines.done",
    "accept.begun",
    "accept.done",
    # each commit of the journal
    "commit.begun",
    "commit.sealed",
    "commit.done",
    "commit.told",
    # each request
    "intents.begun",
    "intents.done",
    "answer.arrived",
    "answer.durable",
    "partial.done",
    # each phase after the first
    "phase.begun",
    "phase.done",
    # the results
    "assembly.begun",
    "assembly.emptied",
    "assembly.directory_made",
    "assembly.file_made",
    "assembly.done",
    "seal.file_synced",
    "seal.directory_synced",
    "seal.done",
    # the outbox and the archive
    "publish.begun",
    "publish.renamed",
    "publish.outbox_synced",
    "publish.done",
    "archive.begun",
    "archive.renamed",
    "archive.synced",
    "archive.done",
    # the end of the directory
    "trash.begun",
    "trash.renamed",
    "trash.done",
    "trash.partial_removed",
    "trash.emptied",
    # what people see
    "status.written",
    "status.done",
    # after a start
    "recovery.begun",
    "recovery.listed",
    "recovery.repaired",
    "reset.begun",
    "reset.copy_removed",
    "reset.journal_removed",
    "reset.done",
    # after a start that finds a damaged journal
    "aside.begun",
    "aside.publish_removed",
    "aside.done",
)

_on_reach: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """The code is here."""
    if _on_reach is not None:
        _on_reach(name)


def arm(on_reach: Callable[[str], None] | None) -> None:
    """Tell this function each name from now on; None: nobody. For tests and measurements."""
    global _on_reach
    _on_reach = on_reach
