"""Blows on the process behind a real model server, and what must be true of a batch that met them.

SUMMARY
    descendants       the processes below one, in any depth
    struck            signals for the runner at even distances of a batch's answers
    well_done         the result: complete, nothing doubled, each decision in log and metrics

DIAGNOSTICS
    AssertionError: what is not true.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.chaos.checker import outcomes_of, problems_of
from tests.house import LivingDaemon

#: Answers between two blows: more than the slots hold, so that whoever was held at the last blow is through
#: and nobody is taken for guilty; and fewer than those after which a death is taken for wear.
APART = 6

#: Lines of a batch for each blow: it goes on for a while after the last one.
LINES_EACH = 12

#: Until a model server has ended or another is there. A hung one is given half a minute by itself.
SEEN_S = 150.0


def descendants(parent: int) -> list[int]:
    """The children, their children, and so on."""
    found: list[int] = []
    below = {parent}
    while below:
        below = {pid for pid, of in _parents().items() if of in below}
        found += below
    return found


def named(pids: Sequence[int], word: str) -> list[int]:
    """Those of them that have this word in their command."""
    return [pid for pid in pids if word in command(pid)]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def state(pid: int) -> str:
    """As the kernel says: R, S, T (stopped), Z (ended, not yet waited for); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def answered(spool: Path) -> int:
    """Durable answers of the batches that run."""
    return sum(path.read_bytes().count(b"\n") for path in (spool / "partial").glob("*") if path.is_file())


def wait_answered(daemon: LivingDaemon, count: int, wait_s: float) -> None:
    """Until there are so many durable answers."""
    daemon.wait_until(lambda: answered(daemon.spool) >= count, f"answer {count}", wait_s)


def ended(pid: int) -> bool:
    """Whether it has, though nobody may have taken note of it."""
    return state(pid) in ("", "Z")


def struck(
    daemon: LivingDaemon, signals: Sequence[signal.Signals], runner: Callable[[], int | None], wait_s: float
) -> None:
    """Each signal goes to the runner once there are APART answers more."""
    for number, blow in enumerate(signals, 1):
        wait_answered(daemon, number * APART, wait_s)
        daemon.wait_until(lambda: runner() is not None, "a runner", wait_s)
        pid = runner()
        assert pid is not None
        os.kill(pid, blow)
        daemon.wait_until(partial(ended, pid), f"the end of the {blow.name}", SEEN_S)


def well_done(daemon: LivingDaemon, batch: Path, result: Path) -> list[dict[str, str]]:
    """The decisions, each of which is in the log as well; the daemon has ended."""
    lines = len(batch.read_bytes().splitlines())
    counts = json.loads((result / "batch.json").read_text())["request_counts"]
    assert counts == {"total": lines, "completed": lines, "failed": 0}
    assert outcomes_of(result, batch.read_bytes()) == ([], [])
    assert problems_of(daemon.spool) == []
    found: list[dict[str, str]] = json.loads((result / "metrics.json").read_text())["decisions"]
    log = daemon.log_path.read_text()
    told = [one for one in found if one["name"] != "model_loaded"]
    for one in told:
        assert f"{one['name']}: {one['old']} -> {one['new']}, because {one['cause']}" in log
    said = sum(" -> " in line and ", because " in line for line in log.splitlines())
    assert said == len(told), "the log tells of other decisions than the metrics"
    assert all(one["evidence"] for one in told if one["name"].startswith("slots_"))
    print(dict(Counter(one["name"] for one in found)))
    return found


def ends(pids: Sequence[int], within_s: float) -> bool:
    """Whether all of them are gone within this time."""
    until = time.perf_counter() + within_s
    while not all(map(ended, pids)):
        if time.perf_counter() > until:
            return False
        time.sleep(0.05)
    return True


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return found
