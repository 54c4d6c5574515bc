"""The house: a file dropped is a result published, whatever comes between."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batchd.core.lifecycle import Phase
from batchd.core.readings import Card, Reading
from batchd.core.status import parse
from batchd.edges.journal import Journal
from batchd.edges.spool import Spool
from batchd.errors import SpoolError
from tests.app.premises import Premises, batch_of, codes, metrics_of, records
from tests.fakes.made_batch import chat
from tests.fakes.scripted_model import Script, hiccup

Build = Callable[..., Premises]


async def test_a_dropped_file_is_published_in_input_order(premises: Build) -> None:
    world = premises()
    batch_id = world.drop([chat("c"), None, chat("a"), chat("b")])
    async with world.at_work():
        result = await world.result(batch_id)
        await world.until(lambda: world.processing() == [])
        shown = parse((world.root / "status.json").read_bytes())
        assert shown.state == "ready"
    assert result.name == f"reviews.{batch_id}"
    assert [line["custom_id"] for line in records(result / "output.jsonl")] == ["c", "a", "b"]
    assert batch_of(result)["status"] == "completed"
    assert batch_of(result)["request_counts"] == {"total": 4, "completed": 3, "failed": 1}
    assert metrics_of(result)["lanes"]["slots"] == [2]
    assert (world.root / "archive" / batch_id / "reviews.jsonl").exists()
    assert world.service.told == ["ready", "stopping"]
    assert world.server.calls[-2:] == ["unload", "close"]


async def test_batches_run_one_after_the_other_and_share_a_load(premises: Build) -> None:
    world = premises()
    ids = [world.drop([chat(f"{n}")], f"{n}.jsonl") for n in range(3)]
    async with world.at_work():
        results = [await world.result(batch_id) for batch_id in ids]
    assert sum(call.startswith("load") for call in world.server.calls) == 1
    # Each names the load that it used; only the first paid for the canary.
    assert [metrics_of(result)["lanes"]["slots"] for result in results] == [[2]] * 3
    assert sorted(metrics_of(result)["tokens"]["canary"]["value"] for result in results) == [0, 0, 10]


async def test_a_batch_names_the_loads_that_it_used_and_no_others(premises: Build) -> None:
    world = premises()
    first = world.drop([chat("a", model="m"), chat("b", model="n")], "a.jsonl")
    second = world.drop([chat("c", model="o")], "b.jsonl")
    async with world.at_work():
        assert metrics_of(await world.result(first))["lanes"]["slots"] == [2, 2]
        assert metrics_of(await world.result(second))["lanes"]["slots"] == [2]


@pytest.mark.parametrize(("raw", "code"), [(b"", "empty_file"), (b"x\ny\n", "invalid_json_line")])
async def test_a_file_that_cannot_run_fails_and_asks_for_no_model(
    premises: Build, raw: bytes, code: str
) -> None:
    world = premises()
    batch_id = world.drop(raw)
    async with world.at_work():
        result = await world.result(batch_id)
    batch = batch_of(result)
    assert batch["status"] == "failed"
    assert batch["errors"]["data"][0]["code"] == code
    assert batch["failed_at"] is not None
    assert world.server.calls == ["close"]


async def test_a_strict_file_with_a_bad_line_fails_as_a_whole(premises: Build) -> None:
    world = premises()
    batch_id = world.drop([chat("a"), None], strict=True)
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "batch_failed", None: "invalid_json_line"}
    assert world.server.sent == []


async def test_a_stop_while_idle_returns_at_once(premises: Build) -> None:
    world = premises()
    async with world.at_work():
        await world.until(lambda: world.service.told)
        async with asyncio.timeout(world.drain_s / 3):
            world.house.stop()
            await world.until(lambda: "close" in world.server.calls)
    assert parse((world.root / "status.json").read_bytes()).state == "stopped"


async def test_a_stop_before_the_start_takes_nothing_in(premises: Build) -> None:
    world = premises()
    world.drop([chat("a")])
    world.house.stop()
    await world.run_to_its_end()
    assert world.server.sent == []


async def test_a_stop_drains_what_runs_and_the_next_start_does_the_rest(premises: Build) -> None:
    world = premises(Script().holds("r1", "r2", "r3", "r4", "r5"))
    batch_id = world.drop([chat(f"r{n}") for n in range(6)])
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 3)
        world.house.stop()
        world.server.release()
    assert world.spool.result_path(batch_id) is None
    assert len(world.server.sent) == 3
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {f"r{n}": "answered" for n in range(6)}
    assert sorted(world.server.sent) == [f"r{n}" for n in range(6)]


async def test_a_drain_has_an_end_and_what_hangs_is_done_again(premises: Build) -> None:
    world = premises(Script().holds("r1"))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat("r0"), chat("r1")])
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
    assert world.server.cancelled == ["r1"]
    world.server.release()
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"r0": "answered", "r1": "answered"}
    assert sorted(world.server.sent) == ["r0", "r1", "r1"]


async def test_recovered_work_comes_first(premises: Build) -> None:
    world = premises(Script().holds("old"))
    world.drain_s = 0.05
    world.build()
    first = world.drop([chat("old")])
    async with world.at_work():
        await world.until(lambda: world.server.sent == ["old"])
    world.server.release()
    second = world.drop([chat("new")], "a.jsonl")
    world.build()
    async with world.at_work():
        await world.result(second)
    assert world.server.sent == ["old", "old", "new"]
    assert world.spool.result_path(first) is not None


async def test_a_sealed_result_is_published_at_the_next_start_without_a_model(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = premises()
    batch_id = world.drop([chat("a")])
    monkeypatch.setattr(type(world.spool), "publish", _killed)
    with pytest.raises(ExceptionGroup) as raised:
        await world.run_to_its_end()
    assert raised.group_contains(SpoolError, match="killed")
    monkeypatch.undo()
    calls = len(world.server.calls)
    world.build()
    async with world.at_work():
        await world.until(lambda: world.service.told.count("ready") == 2)
    assert codes(await world.result(batch_id)) == {"a": "answered"}
    assert world.processing() == []
    assert world.server.calls[calls:] == ["close"]


def _killed(*_: object) -> str:
    raise SpoolError("killed")


async def test_trouble_in_one_room_ends_the_house_and_gives_the_server_back(premises: Build) -> None:
    long = [f"r{n}" for n in range(9)]
    world = premises(Script().holds(*long))
    batch_id = world.drop([chat(name, text="word " * 2_000) for name in long])

    async def damage_the_copy_while_it_is_read() -> None:
        async with world.at_work():
            await world.until(lambda: len(world.server.sent) == 2)
            copy = world.root / "processing" / batch_id / "input.jsonl"
            copy.chmod(0o600)
            copy.write_bytes(b"x" * copy.stat().st_size)
            world.server.release()
            await world.until(lambda: False)

    with pytest.raises(ExceptionGroup) as raised:
        await damage_the_copy_while_it_is_read()
    assert raised.group_contains(SpoolError, match="is not what intake read")
    assert world.server.calls[-2:] == ["unload", "close"]
    Journal.open(world.spool.journal_path(batch_id)).close()


async def test_a_damaged_journal_is_kept_and_the_batch_goes_on_without_it(premises: Build) -> None:
    world = premises(Script().holds("a"))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        await world.until(lambda: world.server.sent)
    journal = Path(world.spool.journal_path(batch_id)) / "data.mdb"
    damaged = journal.read_bytes()[:5_000]
    journal.write_bytes(damaged)
    world.server.release()
    world.build()
    async with world.at_work():
        assert codes(await world.result(batch_id)) == {"a": "answered"}
        await world.until(lambda: world.processing() == [])
    kept = world.root / "archive" / batch_id / ".journal.damaged-1" / "data.mdb"
    assert kept.read_bytes() == damaged


async def test_an_intake_that_was_killed_while_it_made_its_journal_begins_again(premises: Build) -> None:
    world = premises()
    batch_id = world.drop([chat("a")])
    assert world.spool.claim(b"reviews.jsonl", batch_id)
    world.spool.copy_input(batch_id)
    Path(world.spool.journal_path(batch_id)).mkdir()
    async with world.at_work():
        assert codes(await world.result(batch_id)) == {"a": "answered"}


async def test_only_the_wanted_batches_are_taken_and_the_house_ends_with_them(premises: Build) -> None:
    world = premises()
    mine, other = world.drop([chat("a")], "mine.jsonl"), world.drop([chat("b")], "other.jsonl")
    world.build(only=frozenset({mine}))
    async with asyncio.timeout(20):
        await world.house.run(until=lambda: world.spool.result_path(mine) is not None)
    assert world.server.sent == ["a"]
    assert world.spool.result_path(other) is None
    assert (world.root / "inbox" / "other.jsonl").exists()


async def test_a_model_that_nobody_needs_is_put_out(premises: Build) -> None:
    world = premises()
    world.set_rules(idle_unload_s=0.02)
    world.build()
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        await world.result(batch_id)
        await world.until(lambda: "unload" in world.server.calls)
        again = world.drop([chat("b")], "b.jsonl")
        await world.result(again)
    assert sum(call.startswith("load") for call in world.server.calls) == 2


async def test_a_model_that_never_loads_is_given_up_where_the_operator_says_so(premises: Build) -> None:
    world = premises(Script().loads(*[hiccup("no memory")] * 1_000))
    world.set_rules(give_up_s=60.0)
    world.build()
    batch_id = world.drop([chat("a"), chat("b")])
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "model_unavailable", "b": "model_unavailable"}
    [first, _] = records(result / "errors.jsonl")
    assert "60 s (give_up_s); the last time: no memory" in first["error"]["message"]
    assert first["response"] is None


async def test_a_model_that_does_not_load_is_waited_for_and_goes_on_when_it_does(premises: Build) -> None:
    world = premises(Script().loads(*[hiccup("no memory")] * 9))
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "answered"}


async def test_old_originals_leave_the_archive(premises: Build) -> None:
    world = premises()
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        await world.result(batch_id)
        await world.until(lambda: world.processing() == [])
    assert (world.root / "archive" / batch_id).exists()
    world.set_rules(archive_days=-365_000.0)
    world.build()
    async with world.at_work():
        await world.until(lambda: not list((world.root / "archive").iterdir()))


async def test_neither_the_watchdog_nor_a_stop_waits_for_an_archive_that_takes_hours_to_delete(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, said = threading.Event(), []

    def expire(self: Spool, older_than_s: float, now: float, is_wanted: Callable[[], bool]) -> int:
        began.set()
        while is_wanted():
            time.sleep(0.001)
        said.append("stopped")
        return 0

    monkeypatch.setattr(Spool, "expire_archive", expire)
    world = premises()
    async with world.at_work():
        await world.until(began.is_set)
        pings, written_at = world.service.pings, (world.root / "status.json").stat().st_mtime_ns
        await world.until(lambda: world.service.pings > pings + 2)
        assert (world.root / "status.json").stat().st_mtime_ns > written_at
        assert said == []
    assert said == ["stopped"]


async def test_a_journal_held_open_by_a_batch_that_waits_is_closed_at_the_end(premises: Build) -> None:
    world = premises(Script().holds("a"))
    world.drain_s = 0.05
    world.build()
    world.drop([chat("a")], "a.jsonl")
    waiting = world.drop([chat("b")], "b.jsonl")
    async with world.at_work():
        await world.until(lambda: (world.root / "processing" / waiting / "journal" / "data.mdb").exists())
        await world.until(lambda: world.server.sent)
        await world.until(lambda: len(parse((world.root / "status.json").read_bytes()).batches) == 2)
    journal = Journal.open(world.spool.journal_path(waiting))
    assert journal.phase() is Phase.READY
    journal.close()


SHORT = Reading((Card("a card", "580", 1_000, 990, None, 50.0, 1_000.0),), server_bytes=7, stalled_share=0.0)
EASED = replace(SHORT, cards=(replace(SHORT.cards[0], used_mib=10, energy_j=8_200.0),))


async def test_short_memory_holds_the_work_and_the_results_say_so(premises: Build) -> None:
    world = premises(Script().holds("a"))
    world.server.on_sent("a", lambda: world.gauges.play(SHORT, SHORT, EASED))
    batch_id = world.drop([chat(f"{n}") for n in "abcdefgh"])
    async with world.at_work():
        await world.until(lambda: world.gauges.shown == EASED)
        world.server.release()
        result = await world.result(batch_id)
        await world.until(lambda: not world.inhibitor.is_held)
    assert batch_of(result)["status"] == "completed"
    memory = metrics_of(result)["memory"]
    assert (memory["gpu_peak_mib"], memory["server_resident_peak_bytes"]) == ([990], 7)
    assert memory["energy_wh"] == 2.0
    named = [(item["name"], item["new"]) for item in metrics_of(result)["decisions"]]
    assert named[1:] == [("dispatch_held", "held"), ("dispatch_held", "sending")]
    assert world.inhibitor.told == ["hold", "release"]
