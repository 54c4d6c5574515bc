"""A batch that takes more than there is ends by itself, and the others go on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from batchd.app.closing import CANCELLED, OUTGROWN, REFUSED, fault_of
from batchd.core.record import Event
from batchd.edges.journal import Journal, address
from batchd.edges.spool import Spool
from tests.app.premises import Premises, batch_of, codes
from tests.fakes.made_batch import chat
from tests.fakes.scripted_model import Script

Build = Callable[..., Premises]


def error_codes(result: Path) -> set[str]:
    lines = (result / "errors.jsonl").read_bytes().splitlines()
    return {json.loads(line)["error"]["code"] for line in lines}


@pytest.mark.parametrize("why", ["map", "disk"])
async def test_it_ends_with_what_is_answered_and_the_next_one_has_its_turn(
    premises: Build, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    script = Script()
    script.held.add("r5")
    world = premises(script)
    large = world.drop([chat(f"r{number}") for number in range(40)], "large.jsonl")
    async with world.at_work():
        await world.until(lambda: "r5" in world.server.sent)
        small = world.drop([chat("a")], "small.jsonl")
        if why == "map":
            monkeypatch.setattr(Journal, "is_nearly_full", lambda journal: True)
        else:
            monkeypatch.setattr(Spool, "batch_bytes", lambda spool, batch_id: 10**15)
            world.house.space.refuse()
        await world.closing(large)
        monkeypatch.undo()
        world.server.release()
        result = await world.result(large)
        assert codes(await world.result(small)) == {"a": "answered"}
    batch = batch_of(result)
    assert batch["status"] == "failed"
    assert [error["code"] for error in batch["errors"]["data"]] == ["batch_outgrown"]
    assert batch["request_counts"]["completed"] >= 1
    assert batch["request_counts"]["completed"] + batch["request_counts"]["failed"] == 40
    assert error_codes(result) == {"batch_cancelled"}
    assert (result / "retry.jsonl").read_bytes().count(b"\n") == batch["request_counts"]["failed"]


def test_why_it_ended_outlives_the_daemon() -> None:
    for fault, word in ((OUTGROWN, "failed"), (REFUSED, "failed"), (CANCELLED, "cancelled")):
        assert fault_of(Event(1.0, "closing", "in_progress", word, fault.message)) is fault
    assert fault_of(Event(1.0, "closing", "in_progress", "failed", "of an older one")) is REFUSED


def test_a_journal_says_when_its_map_comes_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "MAP_BYTES", 2**20)
    journal = Journal.create(str(tmp_path / "journal"))
    try:
        assert not journal.is_nearly_full()
        notes = 0
        while not journal.is_nearly_full():
            notes += 1
            journal.note(f"n{notes}", "x" * 20_000)
            journal.claim_custom_ids([None], 0)  # waits for a commit
            assert notes < 100
    finally:
        journal.close()
