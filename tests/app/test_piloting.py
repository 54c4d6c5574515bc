"""Piloting: a bad beginning pauses the batch and says why, a good one goes on by itself with an estimate."""

from collections.abc import Callable
from typing import Any

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer
from batchd.core.pause import Cause
from batchd.core.pilot import FROM_LINES
from batchd.core.request import Request
from batchd.core.status import BatchStatus, parse
from batchd.edges.journal import Journal
from tests.app.premises import Premises, batch_of, codes, metrics_of
from tests.fakes.made_batch import Line, chat
from tests.fakes.scripted_model import Script, answer, missing_model

Build = Callable[..., Premises]


class Template(Script):
    """A wrong template: all but every `good`-th answer are empty, until it is mended."""

    def __init__(self, good: int = 10**9, fault: ModelFault | None = None) -> None:
        super().__init__()
        self.good = good
        self.fault = fault
        self.is_mended = False
        self._count = 0

    def outcome(self, request: Request) -> Answer | ModelFault:
        if request.custom_id == "canary" or self.is_mended:
            return answer()
        self._count += 1
        if self._count % self.good == 0:
            return answer()
        return answer("") if self.fault is None else self.fault


def lines_of(count: int) -> list[Line]:
    return [chat(f"r{number}") for number in range(count)]


def shown(world: Premises, batch_id: str) -> BatchStatus | None:
    path = world.root / "status.json"
    batches = parse(path.read_bytes()).batches if path.exists() else ()
    return next((batch for batch in batches if batch.id == batch_id), None)


async def until_shown_as_paused(world: Premises, batch_id: str) -> BatchStatus:
    def is_paused() -> bool:
        batch = shown(world, batch_id)
        return batch is not None and batch.is_paused

    await world.until(is_paused)
    batch = shown(world, batch_id)
    assert batch is not None
    return batch


async def test_empty_answers_pause_a_large_batch_after_20_requests_and_every_place_says_so(
    premises: Build, said: list[str]
) -> None:
    script = Template()
    world = premises(script)
    batch_id = world.drop(lines_of(FROM_LINES + 1))
    async with world.at_work():
        batch = await until_shown_as_paused(world, batch_id)
        assert len(world.server.sent) == 20
        reason = "20 of the first 20 answers are bad: 20 empty"
        assert batch.detail == reason
        assert batch.estimate.startswith("pilot of 20: 20 bad (20 empty); ")
        await world.until(lambda: world.service.lines[-1].startswith("paused 20/1,001"))
        assert reason in world.service.lines[-1]
        assert f"batchd resume {batch_id[:18]}" in world.service.lines[-1]
        assert any(reason in line and "batchd resume" in line for line in said)
        script.is_mended = True
        world.control(batch_id, "resume")
        result = await world.result(batch_id)
    assert len(world.server.sent) == FROM_LINES + 1, "no second pilot, and nothing twice"
    assert batch_of(result)["request_counts"]["completed"] == FROM_LINES + 1
    metrics = metrics_of(result)
    assert metrics["pilot"]["flaws"] == {"empty": 20}
    assert metrics["answers"]["empty"] == 20
    assert "20 answers are empty." in metrics["notes"]


async def test_failures_of_a_bad_pilot_are_tried_again_when_it_is_resumed(premises: Build) -> None:
    refusing = ModelFault(Category.SERVER, "template: unexpected end", is_temporary=False)
    script = Template(good=2, fault=refusing)
    world = premises(script)
    batch_id = world.drop(lines_of(60), pilot=20)
    async with world.at_work():
        batch = await until_shown_as_paused(world, batch_id)
        assert batch.detail == "10 of the first 20 answers are bad: 10 failed"
        assert (batch.completed, batch.failed) == (10, 0)
        script.is_mended = True
        world.control(batch_id, "resume")
        result = await world.result(batch_id)
    assert set(codes(result).values()) == {"answered"}
    assert metrics_of(result)["faults"]["server"] == 10


async def test_a_good_pilot_goes_on_by_itself_and_leaves_an_estimate(
    premises: Build, said: list[str]
) -> None:
    world = premises(Template(good=1))
    batch_id = world.drop(lines_of(60), pilot=20)
    async with world.at_work():
        result = await world.result(batch_id)
    assert set(codes(result).values()) == {"answered"}
    metrics = metrics_of(result)
    assert metrics["pilot"]["answers"] == 20
    assert metrics["pilot"]["estimate"]["expected_s"] > 0
    assert [decision["name"] for decision in metrics["decisions"]] == ["model_loaded", "pilot"]
    assert any("pilot of 20: 0 bad" in line and "whole batch" in line for line in said)
    assert world.house.roster.paused == {}


async def test_a_person_who_wants_to_look_first_is_waited_for_over_a_restart(premises: Build) -> None:
    world = premises()
    batch_id = world.drop(lines_of(60), pilot=10, pilot_confirm=True)
    async with world.at_work():
        batch = await until_shown_as_paused(world, batch_id)
        assert batch.detail == "a person shall look at the first 10 answers"
    (world.root / "status.json").unlink()
    world.build()
    async with world.at_work():
        await until_shown_as_paused(world, batch_id)
        assert world.house.roster.paused[batch_id].cause is Cause.PILOT
        again = shown(world, batch_id)
        assert again is not None
        assert again.estimate.startswith("pilot of 10: 0 bad")
        assert len(world.server.sent) == 10
        world.control(batch_id, "resume")
        result = await world.result(batch_id)
    assert len(world.server.sent) == 60
    assert set(codes(result).values()) == {"answered"}


@pytest.mark.parametrize(
    ("count", "options", "sent_by_the_pilot"),
    [
        (FROM_LINES, {}, 0),
        (60, {"pilot": 60}, 0),
        (60, {"pilot": 59}, 59),
        (FROM_LINES + 1, {"pilot": 0}, 0),
        (60, {"pilot": 0, "pilot_confirm": True}, 0),
    ],
)
async def test_which_batches_begin_with_a_pilot(
    premises: Build, count: int, options: dict[str, Any], sent_by_the_pilot: int
) -> None:
    world = premises()
    batch_id = world.drop(lines_of(count), **options)
    async with world.at_work():
        result = await world.result(batch_id)
    pilot = metrics_of(result)["pilot"]
    assert (0 if pilot is None else pilot["answers"]) == sent_by_the_pilot


async def test_the_operator_can_switch_it_off(premises: Build) -> None:
    world = premises(Template())
    world.set_rules(pilot=0)
    world.build()
    batch_id = world.drop(lines_of(FROM_LINES + 1))
    async with world.at_work():
        assert metrics_of(await world.result(batch_id))["pilot"] is None


async def test_a_pilot_that_was_killed_is_made_anew_and_no_answer_twice(premises: Build) -> None:
    world = premises(Script().holds(*(f"r{number}" for number in range(60))))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop(lines_of(60), pilot=20)
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
    world.server.release()
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert metrics_of(result)["pilot"]["answers"] == 20
    assert len(world.server.sent) == 60 + 2, "those in flight when it was stopped"


async def test_a_cancel_during_the_pilot_ends_the_batch(premises: Build) -> None:
    world = premises(Script().holds(*(f"r{number}" for number in range(60))))
    batch_id = world.drop(lines_of(60), pilot=20)
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
        world.control(batch_id)
        await world.closing(batch_id)
        world.server.release()
        result = await world.result(batch_id)
    assert batch_of(result)["status"] == "cancelled"
    assert len(codes(result)) == 60


async def test_a_model_that_is_removed_pauses_the_batch_with_the_command_to_type(premises: Build) -> None:
    world = premises(Script().loads(missing_model("m")))
    batch_id = world.drop(lines_of(60))
    async with world.at_work():
        batch = await until_shown_as_paused(world, batch_id)
        assert "ollama pull m" in batch.detail
        other = world.drop([chat("other", model="n")], "b.jsonl")
        await world.result(other)
        journal = Journal.open(world.spool.journal_path(batch_id))
        assert (journal.progress().completed, journal.progress().failed) == (0, 0)
        journal.close()
        world.control(batch_id, "resume")
        result = await world.result(batch_id)
    assert set(codes(result).values()) == {"answered"}
