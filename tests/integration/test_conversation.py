"""Conversations over the death of the daemon: what the server sees is what it would have seen.

DIAGNOSTICS
    None.
"""

import json
from pathlib import Path

import pytest

from tests.batches import write_batch
from tests.house import LivingDaemon, read_lines
from tests.simulator.child import ChildSimulator

LINES = 36

#: Several conversations, with trims in them.
SMALL = {
    "BATCHD_WINDOW_TOKENS_MAX": "2048",
    "BATCHD_CONVERSATION__MARGIN": "0.5",
    "BATCHD_CONVERSATION__TRIM_REQUESTS": "5",
    "BATCHD_CONVERSATION__KEPT_EXCHANGES": "2",
}

#: custom_id -> the messages of each time that it was sent
Sent = dict[str, list[str]]


def test_a_killed_daemon_goes_on_with_the_same_conversations(tmp_path: Path) -> None:
    calm = worked(tmp_path / "calm", kill_at=())
    assert all(len(times) == 1 for times in calm.values())
    lengths = [len(json.loads(times[0])) for times in calm.values()]
    assert lengths.count(2) > 1, "several conversations"
    assert max(lengths) > 10
    struck = worked(tmp_path / "struck", kill_at=(9, 20))
    assert {tag: set(times) for tag, times in struck.items()} == {
        tag: set(times) for tag, times in calm.items()
    }


@pytest.mark.parametrize("slots", [3])
def test_segments_in_several_slots_survive_a_kill_each(tmp_path: Path, slots: int) -> None:
    struck = worked(tmp_path, kill_at=(12,), slots=slots)
    # What was in flight is sent again, and reads what it read before.
    assert all(len(set(times)) == 1 for times in struck.values())
    assert sum(len(times) for times in struck.values()) <= LINES + 2 * slots


def worked(folder: Path, kill_at: tuple[int, ...], slots: int = 1) -> Sent:
    """What the server saw of one batch, while the daemon died after so many answers."""
    folder.mkdir(exist_ok=True)
    batch = write_batch(folder / "packages.jsonl", LINES, system="You are terse.")
    environment = {**SMALL, "BATCHD_SLOTS": str(slots)}
    with (
        ChildSimulator(folder / "seen.jsonl", delay_s=0.05, slots=slots) as server,
        LivingDaemon(folder / "spool", BATCHD_OLLAMA__HOST=server.address, **environment) as daemon,
    ):
        batch_id = daemon.submit(batch, {"strategy": "conversation"})
        for count in kill_at:
            daemon.wait_until(lambda: server.counts()["answers"] > count, f"{count} answers")  # noqa: B023
            daemon.kill()
            daemon.start()
        result = daemon.result(batch_id)
        sent: Sent = {}
        for seen in server.seen():
            messages = seen["body"].get("messages")
            if messages and messages[0]["role"] == "system":
                sent.setdefault(seen["tag"], []).append(json.dumps(messages))
    told = json.loads((result / "metrics.json").read_text())
    assert told["settings"]["strategy"] == "conversation"
    assert told["conversation"]["trims"] > 0
    assert told["answers"]["completed"] == LINES
    said = [line["custom_id"] for line in read_lines(result / "output.jsonl")]
    assert said == [f"package-{number}" for number in range(LINES)]
    return sent
