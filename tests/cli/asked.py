"""A house of two batches as status.json shows it, and what was asked of them.

DIAGNOSTICS
    None.
"""

from collections import Counter
from pathlib import Path

from batchd.core.status import BatchStatus, StatusReport
from tests.simulator import tag_of
from tests.simulator.child import ChildSimulator

ONE, OTHER = f"batch_ab{1:030x}", f"batch_ac{2:030x}"


def batch(batch_id: str, name: str, is_paused: bool = False, detail: str = "") -> BatchStatus:
    return BatchStatus(batch_id, name, "in_progress", 10, 1, 0, detail=detail, is_paused=is_paused)


BATCHES = (batch(ONE, "reviews.jsonl"), batch(OTHER, "mail.jsonl", True, "all is empty"))

REPORT = StatusReport(1.0, 2, "ready", batches=BATCHES)


def told(spool: Path) -> list[str]:
    return sorted(path.name for path in (spool / "control").iterdir())


def asked(server: ChildSimulator) -> Counter[str]:
    """How often each request went to the model, canaries aside."""
    tags = (seen["tag"] for seen in server.seen() if seen["tag"] is not None)
    return Counter(tag for tag in tags if tag != tag_of("Say: ready."))
