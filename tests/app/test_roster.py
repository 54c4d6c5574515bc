"""The roster: a paused batch gives way, waits over restarts, and loses nothing."""

from collections.abc import Callable

from batchd.core.status import BatchStatus, parse
from batchd.edges.journal import Journal
from tests.app.premises import Premises, batch_of, codes, metrics_of
from tests.fakes.made_batch import chat
from tests.fakes.scripted_model import Script

Build = Callable[..., Premises]

SIX = [f"r{n}" for n in range(6)]


def shown(world: Premises, batch_id: str) -> BatchStatus | None:
    """The batch in status.json."""
    path = world.root / "status.json"
    batches = parse(path.read_bytes()).batches if path.exists() else ()
    return next((batch for batch in batches if batch.id == batch_id), None)


async def until_paused(world: Premises, batch_id: str) -> None:
    await world.until(lambda: batch_id in world.house.roster.paused)


async def test_a_paused_batch_gives_way_and_what_is_in_flight_ends_normally(premises: Build) -> None:
    world = premises(Script().holds(*SIX))
    first = world.drop([chat(name) for name in SIX], "a.jsonl")
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
        world.control(first, "pause")
        await world.until(lambda: world.house.roster.held[first].pause is not None)
        second = world.drop([chat("other")], "b.jsonl")
        world.server.release()
        await world.result(second)
        await until_paused(world, first)
        assert world.server.sent[2:] == ["other"]
        assert world.controls() == []
        journal = Journal.open(world.spool.journal_path(first))  # nobody holds it
        assert journal.progress().completed == 2
        journal.close()
        world.control(first, "resume")
        result = await world.result(first)
    assert codes(result) == dict.fromkeys(SIX, "answered")
    assert sorted(world.server.sent) == sorted([*SIX, "other"])
    names = [decision["name"] for decision in metrics_of(result)["decisions"]]
    assert names == ["model_loaded", "paused", "resumed"]
    assert world.controls() == []


async def test_a_pause_and_its_reason_are_shown_with_what_to_type(premises: Build) -> None:
    world = premises(Script().holds(*SIX))
    batch_id = world.drop([chat(name) for name in SIX])
    async with world.at_work():
        await world.until(lambda: world.server.sent)
        world.control(batch_id, "pause")
        await world.until(lambda: world.house.roster.held[batch_id].pause is not None)
        world.server.release()

        def is_shown() -> bool:
            batch = shown(world, batch_id)
            return batch is not None and batch.is_paused

        await world.until(is_shown)
        batch = shown(world, batch_id)
        assert batch is not None
        assert batch.detail == "batchd pause was typed"
        assert (batch.status, batch.requests_per_s, batch.eta_s) == ("in_progress", None, None)
        await world.until(lambda: world.service.lines[-1].startswith("paused"))
        assert f"batchd resume {batch_id[:18]} · batchd pause was typed" in world.service.lines[-1]


async def test_a_pause_outlives_the_daemon_without_its_file(premises: Build) -> None:
    world = premises()
    batch_id = world.drop([chat("a")])
    world.control(batch_id, "pause")
    async with world.at_work():
        await until_paused(world, batch_id)
        await world.until(lambda: world.controls() == [])
    world.build()
    other = world.drop([chat("b")], "b.jsonl")
    async with world.at_work():
        await world.result(other)
        assert batch_id in world.house.roster.paused
        assert world.server.sent == ["b"]
        world.control(batch_id, "resume")
        assert codes(await world.result(batch_id)) == {"a": "answered"}


async def test_a_daemon_that_stops_while_it_pauses_stays_paused(premises: Build) -> None:
    world = premises(Script().holds(*SIX))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat(name) for name in SIX])
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
        world.control(batch_id, "pause")
        await world.until(lambda: world.house.roster.held[batch_id].pause is not None)
    assert world.controls() == [f"{batch_id}.pause"]
    world.server.release()
    world.build()
    async with world.at_work():
        await until_paused(world, batch_id)
        await world.until(lambda: world.controls() == [])
        world.control(batch_id, "resume")
        assert codes(await world.result(batch_id)) == dict.fromkeys(SIX, "answered")


async def test_a_pause_before_the_batch_comes_waits_for_it(premises: Build) -> None:
    world = premises()
    batch_id = f"batch_{'d' * 32}"
    world.control(batch_id, "pause")
    async with world.at_work():
        other = world.drop([chat("a")], "a.jsonl")
        await world.result(other)
        world.drop_as(batch_id, [chat("b")], "b.jsonl")
        await until_paused(world, batch_id)
    assert world.server.sent == ["a"]


async def test_a_batch_that_is_paused_and_resumed_while_it_waits_for_its_turn_keeps_it(
    premises: Build,
) -> None:
    world = premises(Script().holds("a"))
    first = world.drop([chat("a")], "a.jsonl")
    async with world.at_work():
        await world.until(lambda: world.server.sent == ["a"])
        second = world.drop([chat("b")], "b.jsonl")
        roster = world.house.roster
        await world.until(lambda: second in roster.held)
        world.control(second, "pause")
        await world.until(lambda: roster.held[second].pause is not None)
        world.control(second, "resume")
        await world.until(lambda: roster.held[second].pause is None)
        await world.until(lambda: world.controls() == [])
        world.server.release()
        await world.result(first)
        result = await world.result(second)
    assert codes(result) == {"b": "answered"}
    names = [decision["name"] for decision in metrics_of(result)["decisions"]]
    assert names[:2] == ["paused", "resumed"]


async def test_a_paused_batch_can_be_cancelled(premises: Build) -> None:
    world = premises()
    batch_id = world.drop([chat("a"), chat("b")])
    world.control(batch_id, "pause")
    async with world.at_work():
        await until_paused(world, batch_id)
        world.control(batch_id)
        result = await world.result(batch_id)
        await world.until(lambda: world.controls() == [])
    assert batch_of(result)["status"] == "cancelled"
    assert codes(result) == {"a": "batch_cancelled", "b": "batch_cancelled"}
    assert world.server.sent == []


async def test_a_resume_of_a_batch_that_is_not_paused_is_dropped(premises: Build) -> None:
    world = premises(Script().holds("a"))
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        await world.until(lambda: world.server.sent)
        world.control(batch_id, "resume")
        await world.until(lambda: world.controls() == [])
        world.server.release()
        assert codes(await world.result(batch_id)) == {"a": "answered"}


async def test_resumed_batches_come_before_new_ones_the_oldest_first(premises: Build) -> None:
    world = premises(Script().holds("c"))
    ids = []
    async with world.at_work():
        for name in "ab":
            ids.append(f"batch_{name * 32}")
            world.control(ids[-1], "pause")
            world.drop_as(ids[-1], [chat(name)], f"{name}.jsonl")
            await until_paused(world, ids[-1])
        third = world.drop([chat("c")], "c.jsonl")
        await world.until(lambda: world.server.sent == ["c"])
        fourth = world.drop([chat("d")], "d.jsonl")
        await world.until(lambda: fourth in world.house.roster.held)
        for batch_id in reversed(ids):
            world.control(batch_id, "resume")
        await world.until(lambda: world.house.roster.ready_count == 2)
        world.server.release()
        for batch_id in (*ids, third, fourth):
            await world.result(batch_id)
    assert world.server.sent == ["c", "a", "b", "d"]


async def test_many_paused_batches_hold_no_journal_and_let_others_in(premises: Build) -> None:
    world = premises()
    ids = [world.drop([chat(f"{n}")], f"{n}.jsonl") for n in range(20)]
    for batch_id in ids:
        world.control(batch_id, "pause")
    async with world.at_work():
        for batch_id in ids:
            await until_paused(world, batch_id)
        assert world.house.roster.held == {}
        other = world.drop([chat("other")], "other.jsonl")
        await world.result(other)
    assert world.server.sent == ["other"]


async def test_a_pause_that_comes_with_the_last_answer_holds_nothing_up(premises: Build) -> None:
    world = premises(Script().holds("a"))
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        await world.until(lambda: world.server.sent)
        world.control(batch_id, "pause")
        await world.until(lambda: world.house.roster.held[batch_id].pause is not None)
        world.server.release()
        result = await world.result(batch_id)
    assert batch_of(result)["status"] == "completed"
    assert "paused" in [decision["name"] for decision in metrics_of(result)["decisions"]]
    assert world.controls() == []
