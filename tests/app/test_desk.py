"""The desk: why a batch closes early, what that costs, and what its files then say."""

from collections.abc import Callable

import pytest

from batchd.app import chores
from batchd.app.closing import CANCELLED, EXPIRED, close_early
from batchd.edges.spool import Spool
from batchd.errors import NoSpaceError
from tests.app.premises import Premises, batch_of, codes, metrics_of
from tests.fakes.made_batch import chat, made_batch
from tests.fakes.scripted_model import Script, hiccup, missing_model, out_of_memory

Build = Callable[..., Premises]

SIX = [f"r{n}" for n in range(6)]


async def test_a_cancel_ends_what_is_pending_and_keeps_what_is_answered(premises: Build) -> None:
    world = premises(Script().holds("r2", "r4"))
    batch_id = world.drop([chat(f"r{n}") for n in range(12)])
    async with world.at_work():
        await world.until(lambda: {"r2", "r4"} <= set(world.server.sent))
        world.control(batch_id)
        await world.closing(batch_id)
        world.server.release()
        result = await world.result(batch_id)
        await world.until(lambda: world.controls() == [])
    answered = set(world.server.sent)
    assert codes(result) == {
        f"r{n}": "answered" if f"r{n}" in answered else "batch_cancelled" for n in range(12)
    }
    assert len(answered) < 12
    batch = batch_of(result)
    assert batch["status"] == "cancelled"
    assert batch["cancelling_at"] is not None
    assert batch["cancelled_at"] >= batch["cancelling_at"]
    assert batch["completed_at"] is None
    assert [decision["new"] for decision in metrics_of(result)["decisions"]][1:] == ["cancelled"]
    assert (result / "retry.jsonl").read_bytes().count(b"\n") == 12 - len(answered)


async def test_a_cancel_reaches_a_batch_that_waits_for_its_turn(premises: Build) -> None:
    world = premises(Script().holds("a"))
    first, second = world.drop([chat("a")], "a.jsonl"), world.drop([chat("b")], "b.jsonl")
    async with world.at_work():
        await world.until(lambda: world.server.sent == ["a"])
        await world.until(lambda: (world.root / "processing" / second / "journal").exists())
        world.control(second)
        await world.closing(second)
        world.server.release()
        assert batch_of(await world.result(first))["status"] == "completed"
        assert batch_of(await world.result(second))["status"] == "cancelled"
    assert world.server.sent == ["a"]


async def test_a_cancel_that_comes_before_its_batch_waits_for_it_and_goes_with_it(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "CONTROLS_CHECK_S", 1e9)
    world = premises()
    batch_id = f"batch_{'c' * 32}"
    world.control(batch_id)
    async with world.at_work():
        other = world.drop([chat("a")])
        assert batch_of(await world.result(other))["status"] == "completed"
        assert world.controls() == [f"{batch_id}.cancel"]
        world.drop_as(batch_id, [chat("b")])
        assert batch_of(await world.result(batch_id))["status"] == "cancelled"
        await world.until(lambda: world.controls() == [])
    assert world.server.sent == ["a"]


async def test_a_cancel_outlives_the_daemon(premises: Build) -> None:
    world = premises(Script().holds(*SIX))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat(name) for name in SIX])
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
        world.control(batch_id)
        await world.closing(batch_id)
    assert world.spool.result_path(batch_id) is None
    assert world.controls() == [f"{batch_id}.cancel"]
    (world.root / "control" / f"{batch_id}.cancel").unlink()  # the journal remembers, too
    sent = len(world.server.sent)
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert batch_of(result)["status"] == "cancelled"
    assert set(codes(result).values()) == {"batch_cancelled"}
    assert len(world.server.sent) == sent


@pytest.mark.parametrize(("is_enforced", "status"), [(False, "completed"), (True, "expired")])
async def test_a_batch_expires_only_where_the_operator_says_so(
    premises: Build, is_enforced: bool, status: str
) -> None:
    world = premises(Script().holds(*SIX))
    world.set_rules(enforce_window=is_enforced)
    world.build()
    batch_id = world.drop([chat(name) for name in SIX], completion_window="3s")
    world.clock.stands = True
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
        world.clock.stands = False
        pings = world.service.pings
        await world.until(lambda: world.service.pings > pings + 4)
        world.server.release()
        result = await world.result(batch_id)
    assert batch_of(result)["status"] == status
    assert metrics_of(result)["time"]["worked_s"] >= 3.0
    assert set(codes(result).values()) == {"answered"} | ({"batch_expired"} if is_enforced else set())


async def test_the_time_of_work_is_measured_and_is_no_number_of_looks(premises: Build) -> None:
    world = premises(Script().holds("a"))
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        await world.until(lambda: world.server.sent == ["a"])
        pings = world.service.pings
        await world.until(lambda: world.service.pings > pings + 1)
        began = world.clock.monotonic()
        world.clock.pass_by(3_600.0)  # the machine was so busy that the house looked at nothing
        ended = world.clock.monotonic()
        world.server.release()
        result = await world.result(batch_id)
    assert metrics_of(result)["time"]["worked_s"] >= ended - began


async def test_time_without_a_model_does_not_count_against_the_window(premises: Build) -> None:
    world = premises(Script().loads(*[hiccup()] * 8))
    world.set_rules(enforce_window=True)
    world.build()
    batch_id = world.drop([chat("a")], completion_window="5s")

    def stand() -> None:
        world.clock.stands = True  # so that the work itself takes no time

    world.server.on_sent("canary", stand)
    async with world.at_work():
        result = await world.result(batch_id)
    assert batch_of(result)["status"] == "completed"
    assert metrics_of(result)["time"]["wall_s"] > 5.0


async def test_a_missing_model_fails_the_lines_and_not_the_batch(premises: Build) -> None:
    world = premises(Script().loads(missing_model("m")))
    batch_id = world.drop([chat("a"), chat("b")])
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "model_not_found", "b": "model_not_found"}
    assert batch_of(result)["status"] == "completed"


async def test_a_decision_of_the_governor_stands_in_the_metrics(premises: Build) -> None:
    world = premises(Script().loads(out_of_memory()))
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        result = await world.result(batch_id)
    [decision, load] = metrics_of(result)["decisions"]
    assert load["name"] == "model_loaded"
    assert (decision["name"], decision["old"], decision["new"]) == ("slots_halved", "2", "1")
    assert metrics_of(result)["lanes"]["slots"] == [1]


async def test_what_was_in_flight_when_the_daemon_died_is_said_and_not_charged(premises: Build) -> None:
    world = premises(Script().holds("r0", "r1"))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat("r0"), chat("r1")])
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
    world.server.release()
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    names = [decision["name"] for decision in metrics_of(result)["decisions"]]
    assert names == ["model_loaded", "requeued", "model_loaded"]
    assert metrics_of(result)["faults"] == {"tokens_of_killed_attempts": None}


async def test_the_first_reason_to_close_stands() -> None:
    batch = made_batch([chat("a")])
    close_early(batch, EXPIRED, 1.0)
    close_early(batch, CANCELLED, 2.0)
    assert batch.closing is EXPIRED
    assert [(event.at, event.new) for event in batch.journal.events()] == [(1.0, "expired")]


async def test_a_cancel_while_the_batch_is_published_comes_too_late(premises: Build) -> None:
    world = premises()
    asked: list[str] = []

    def cancel_now(name: bytes, batch_id: str) -> str:
        assert world.house._desk is not None
        world.house._desk.cancel()
        assert world.house._desk.batch.closing is None
        asked.append(batch_id)
        return f"late.{batch_id}"

    world.final_name = cancel_now
    world.build()
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        result = await world.result(batch_id)
    assert asked == [batch_id]
    assert batch_of(result)["status"] == "completed"


async def test_a_directory_that_the_full_disk_keeps_is_deleted_when_there_is_room(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is published and its journal closed: nothing of that is done again."""
    world = premises()
    batch_id = world.drop([chat("a")])
    empty_trash, tries = type(world.spool).empty_trash, []

    def refuse_once(spool: Spool, of: str) -> None:
        tries.append(of)
        if len(tries) == 1:
            raise NoSpaceError("No space left on device.")
        empty_trash(spool, of)

    monkeypatch.setattr(type(world.spool), "empty_trash", refuse_once)
    async with world.at_work():
        assert codes(await world.result(batch_id)) == {"a": "answered"}
        await world.until(lambda: world.processing() == [])
    assert tries == [batch_id] * 2
