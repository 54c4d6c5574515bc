"""The daemon is killed again and again; every line still has exactly one outcome, and nothing is paid twice.

SUMMARY
    The number of kills is BATCHD_TEST_KILLS, the number of lines BATCHD_TEST_KILL_LINES, the seed
    BATCHD_TEST_SEED; `just chaos` raises them.
"""

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from batchd.edges.journal import Journal
from batchd.edges.ollama.wire import AT_WORK
from batchd.errors import JournalError
from tests.batches import user_text, write_batch
from tests.chaos.checker import outcomes_of
from tests.chaos.tally import Books, tally
from tests.house import LivingDaemon, read_lines
from tests.simulator.answers import tag_of
from tests.simulator.child import ChildSimulator

KILLS = int(os.environ.get("BATCHD_TEST_KILLS", "8"))
LINES = int(os.environ.get("BATCHD_TEST_KILL_LINES", "300"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

#: The answers of so many lines take this long, so that the kills fall while the batch is at work.
DELAY_S = float(os.environ.get("BATCHD_TEST_DELAY_S", "0.05"))
SLOTS = 4


def answered(spool: Path, batch_id: str, scratch: Path) -> set[int]:
    """The line indices that a copy of the journal holds as answered."""
    source = spool / "processing" / batch_id / "journal"
    if not source.is_dir():
        return set()
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch)
    try:
        journal = Journal.open(str(scratch))
    except JournalError:
        return set()  # killed while it was being made
    try:
        return {index for index, is_finished in enumerate(journal.finished()) if is_finished}
    finally:
        journal.close()


@pytest.mark.timeout(120 + 6 * KILLS)
def test_kills_at_random_moments_lose_nothing_double_nothing_and_pay_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    batch = write_batch(tmp_path / "packages.jsonl", LINES)
    tags = [tag_of(user_text(number)) for number in range(LINES)]
    spool = tmp_path / "spool"
    paid: list[tuple[float, set[int]]] = []  # (moment of the kill, what was answered by then)
    with (
        ChildSimulator(tmp_path / "seen.jsonl", slots=SLOTS, delay_s=DELAY_S, jitter_s=DELAY_S / 2) as server,
        tally("daemon kills", SEED, Books(requests=LINES)) as books,
    ):
        daemon = LivingDaemon(spool, BATCHD_OLLAMA__HOST=server.address, BATCHD_SLOTS=str(SLOTS))
        with daemon:
            batch_id = daemon.submit(batch)
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.3, 1.6))
                daemon.kill()
                books.blows += 1
                paid.append((time.time_ns() / 1e9, answered(spool, batch_id, tmp_path / "copy")))
                if list((spool / "outbox").glob(f"*.{batch_id}")):
                    break
                daemon.start()
            result = daemon.result(batch_id, wait_s=90 + LINES * DELAY_S)
        seen = server.seen()
        lost, doubled = outcomes_of(result, batch.read_bytes())
        books.lost, books.doubled = len(lost), len(doubled)
        index_of = {tag: index for index, tag in enumerate(tags)}
        repeated = [
            (index_of[entry["tag"]], entry["at"] - moment)
            for moment, finished in paid
            for entry in seen
            if entry["tag"] in index_of and entry["at"] > moment and index_of[entry["tag"]] in finished
        ]
        books.recomputed = len(repeated)
        assert read_lines(result / "errors.jsonl") == []
        lines = read_lines(result / "output.jsonl")
        assert [line["custom_id"] for line in lines] == [f"package-{number}" for number in range(LINES)]
        for line, tag in zip(lines, tags, strict=True):
            assert tag in str(line["response"]), "an answer went to another request"
        assert repeated == [], f"seed {SEED}: finished answers were computed again"
    at_work = [moment for moment, finished in paid if 0 < len(finished) < LINES]
    print(f"{len(paid)} kills, {len(at_work)} of them at work, {LINES} lines, {len(seen)} calls, seed {SEED}")
    assert at_work, "no kill fell while the batch was at work"


def test_every_request_carries_the_window_and_the_limits(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 20)
    with ChildSimulator(tmp_path / "seen.jsonl", slots=2) as server:
        with LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address, BATCHD_SLOTS="2") as daemon:
            daemon.result(daemon.submit(batch))
            assert daemon.stop() == 0
        seen = server.seen()
    calls = [entry for entry in seen if entry["path"] in ("/api/chat", "/api/generate")]
    assert len(calls) >= 21  # the load, the canary, the requests
    for entry in calls[:-1]:  # the last one gives the model back
        body = entry["body"]
        assert body["options"]["num_ctx"] >= 2_048
        assert body["truncate"] is False
        assert body["shift"] is False
        # Said once, with the load: a request that says it takes another client's turn away.
        assert body.get("keep_alive") == (None if entry["path"] == "/api/chat" else AT_WORK)
        assert body["stream"] is False
    requests = [entry["body"] for entry in calls if entry["tag"] is not None]
    assert {body["options"]["num_predict"] for body in requests} == {1, 16}
