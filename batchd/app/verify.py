"""Verify: whether a spool is what it must be at every moment, read-only, from its files alone.

SUMMARY
    report = verify(spool)

    On a spool that a daemon holds, all that has a finding is looked at again after a pause, and only what is
    found each time is reported: between two steps of a daemon things look odd for a moment.

    Never call this in a process that has one of the spool's journals open: it opens and closes their files,
    and that drops LMDB's locks.

DIAGNOSTICS
    Fatal: ConfigError where there is no spool, or this user may not look into it; SpoolError when a directory
    cannot be listed.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from batchd.app.look import Look, Watch
from batchd.core.audit.finding import Finding
from batchd.core.audit.report import Found, Report
from batchd.core.status import parse
from batchd.edges.clock import SystemClock
from batchd.edges.evidence import Evidence
from batchd.errors import SpoolError

#: Longer than any step of a daemon between two renames, short for a person.
PAUSE_S = 1.0

#: Looks after the first. A daemon is not twice at the same odd moment of one batch, three times never.
AGAIN = 2

#: A daemon that wrote its status less than this ago is taken for alive where its lock cannot be seen.
STATUS_FRESH_S = 15.0


def verify(
    spool: Path,
    outbox: Path | None = None,
    watch: Watch = lambda place, size_bytes: None,
    pause_s: float = PAUSE_S,
) -> Report:
    """Look at everything. `outbox`: where results go, if it is not in the spool."""
    evidence = Evidence.open(spool, outbox)
    look = Look(evidence, watch)
    is_held = evidence.is_held() or _is_fresh(evidence)
    looks = (Look.strangers, Look.status, *(_of(batch_id) for batch_id in look.batch_ids()))
    seen = [Found.of(one(look)) for one in looks]
    for _ in range(AGAIN if is_held else 0):
        odd = [number for number, found in enumerate(seen) if found.findings]
        if not odd:
            break
        time.sleep(pause_s)
        again = Look(evidence, watch)
        for number in odd:
            seen[number] = seen[number].confirmed(Found.of(looks[number](again)))
    return Report(
        str(evidence.root),
        is_held,
        tuple(finding for found in seen for finding in found.findings),
        sum(found.more for found in seen),
        tuple(look.skipped.values()),
        look.looked,
    )


def _of(batch_id: str) -> Callable[[Look], Iterator[Finding]]:
    return lambda look: look.batch(batch_id)


def _is_fresh(evidence: Evidence) -> bool:
    try:
        raw = evidence.content(evidence.root / "status.json")
        report = None if raw is None else parse(raw)
    except (SpoolError, OSError):
        return False
    if report is None or report.state == "stopped":
        return False
    return SystemClock().now() - report.written_at < STATUS_FRESH_S
