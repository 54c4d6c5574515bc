"""The account: each batch's journal names every model that it used, whatever befell the daemon meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchd.core.model import Answer, Source, Usage
from batchd.edges.spool import final_name
from batchd.errors import SpoolError
from tests.app.premises import Premises, batch_of, codes, metrics_of
from tests.batches import write_batch
from tests.fakes.made_batch import chat, embed
from tests.fakes.scripted_model import Script, ScriptedServer, answer, crash
from tests.house import LivingDaemon
from tests.simulator.child import ChildSimulator

Build = Callable[..., Premises]

SIX = [f"r{n}" for n in range(6)]


def used(metrics: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(name, slots, loads) of each model."""
    return [(model["name"], model["slots"], model["loads"]) for model in metrics["provenance"]["models"]]


async def test_a_model_that_was_resident_already_is_named_and_its_canary_not_paid_twice(
    premises: Build,
) -> None:
    world = premises()
    first, second = world.drop([chat("a")], "a.jsonl"), world.drop([chat("b")], "b.jsonl")
    async with world.at_work():
        results = [metrics_of(await world.result(batch_id)) for batch_id in (first, second)]
    assert [call for call in world.server.calls if call.startswith("load")] == [world.server.calls[0]]
    loads = sorted(used(metrics)[0][2] for metrics in results)
    assert loads == [0, 1], "the load belongs to one of the two"
    assert {used(metrics)[0][:2] for metrics in results} == {("m", 2)}
    assert sorted(metrics["tokens"]["canary"]["value"] for metrics in results) == [0, 10]
    assert {metrics["provenance"]["engine"] for metrics in results} == {"1.0"}


async def test_a_model_that_came_back_after_a_death_is_counted_with_its_canary(premises: Build) -> None:
    world = premises(Script().answers("r1", crash(), answer()))
    batch_id = world.drop([chat(name) for name in SIX])
    async with world.at_work():
        metrics = metrics_of(await world.result(batch_id))
    assert used(metrics) == [("m", 2, 1), ("m", 1, 1)]  # after the death with half the slots
    assert metrics["tokens"]["canary"]["value"] == 20
    assert metrics["lanes"]["slots"] == [2, 1]


async def test_every_life_of_the_daemon_is_in_the_provenance(premises: Build) -> None:
    """One life ends in the middle; the next one finds another number of slots and another card."""
    world = premises(Script().holds(*SIX))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat(name) for name in SIX])
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 2)
    world.set_rules(slots=1)
    world.gpus = ["another card"]
    world.server.release()
    world.build()
    async with world.at_work():
        metrics = metrics_of(await world.result(batch_id))
    assert used(metrics) == [("m", 2, 1), ("m", 1, 1)]
    assert [model["gpus"] for model in metrics["provenance"]["models"]] == [["a card"], ["another card"]]
    assert metrics["provenance"]["gpus"] == ["another card"]
    assert metrics["tokens"]["canary"]["value"] == 20


def _killed(*_: object) -> str:
    raise SpoolError("The daemon was killed here.")


async def test_a_daemon_that_only_publishes_still_tells_who_answered(premises: Build) -> None:
    world = premises()
    batch_id = world.drop([chat(name) for name in SIX])
    world.final_name = _killed
    world.build()
    with pytest.raises(BaseExceptionGroup):
        await world.run_to_its_end()
    assert world.spool.result_path(batch_id) is None
    world.final_name, calls = final_name, len(world.server.calls)
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert "canary" not in world.server.calls[calls:], "this life loaded nothing"
    metrics = metrics_of(result)
    assert batch_of(result)["status"] == "completed"
    assert used(metrics) == [("m", 2, 1)]
    assert metrics["provenance"]["engine"] == "1.0"
    assert metrics["tokens"]["canary"]["value"] == 10


def test_a_killed_daemon_leaves_its_model_in_the_provenance(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 60, system="You are terse.")
    with (
        ChildSimulator(slots=2, delay_s=0.05) as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address) as daemon,
    ):
        batch_id = daemon.submit(batch)
        daemon.wait_until(lambda: server.counts()["answers"] > 10, "some answers")
        daemon.kill()
        with LivingDaemon(
            daemon.spool, BATCHD_OLLAMA__HOST=server.address, BATCHD_SLOTS="2", BATCHD_OLLAMA__MODE="attach"
        ) as again:
            metrics = metrics_of(again.result(batch_id))
    provenance = metrics["provenance"]
    assert used(metrics) == [("smollm2:135m", 1, 1), ("smollm2:135m", 2, 1)]
    assert {model["digest"] for model in provenance["models"]} == {provenance["models"][0]["digest"]}
    for engine in (provenance["engine"], *(model["engine"] for model in provenance["models"])):
        assert engine["name"] == "ollama"
        assert engine["version"]
        assert engine["mode"] == "attach"
    assert metrics["tokens"]["canary"]["value"] > 0


def loads_of(world: Premises) -> list[str]:
    return [call for call in world.server.calls if call.startswith("load")]


async def test_another_life_of_the_daemon_does_not_meet_the_same_limit_again(premises: Build) -> None:
    """What did not fit is kept with the batch."""
    world = premises(Script().holds(*SIX).holds_in_memory(lambda load: load.slots == 1))
    world.drain_s = 0.05
    world.build()
    batch_id = world.drop([chat(name) for name in SIX])
    async with world.at_work():
        await world.until(lambda: len(world.server.sent) == 1)
    assert [call for call in world.server.calls if call.startswith("load")] == [
        "load m 1024x2",
        "load m 1024x1",
    ]
    world.server.calls.clear()
    world.server.release()
    world.build()
    async with world.at_work():
        metrics = metrics_of(await world.result(batch_id))
    assert loads_of(world) == ["load m 1024x1"]
    names = [decision["name"] for decision in metrics["decisions"]]
    assert [name for name in names if name.startswith("slots")] == ["slots_halved", "slots_remembered"]


def vectors(*numbers: float) -> Answer:
    return Answer("", None, "stop", Usage(5, 0, 0, Source.ENGINE, 0.01, 0.0), (numbers,))


async def test_a_vector_of_another_length_is_no_success_and_zeros_are_counted_and_said(
    premises: Build,
) -> None:
    short = [vectors(0.5)] * 3  # as many as there are attempts, and before any good one
    world = premises(Script().answers("a", *short).answers("b", vectors(0.0, 0.0)))
    batch_id = world.drop([embed("a"), embed("b"), embed("c")], deduplicate=False)
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "server", "b": "answered", "c": "answered"}
    assert "have 1 numbers, and those of this model have 2" in (result / "errors.jsonl").read_text()
    metrics = metrics_of(result)
    assert metrics["answers"]["zero_vectors"] == 1
    assert any("vector of zeros" in note for note in metrics["notes"])


async def test_the_length_of_a_batchs_vectors_outlives_the_daemon(premises: Build) -> None:
    world = premises(Script().holds("b"))
    world.drain_s = 0.05
    world.set_rules(slots=1)
    world.build()
    batch_id = world.drop([embed("a"), embed("b")], deduplicate=False)
    async with world.at_work():
        await world.until(lambda: "b" in world.server.sent)
    other = [vectors(0.5, 0.5, 0.5)] * 10  # the model has been replaced meanwhile
    world.server = ScriptedServer(Script().answers("canary", *other).answers("b", *other))
    world.build()
    async with world.at_work():
        result = await world.result(batch_id)
    assert codes(result) == {"a": "answered", "b": "server"}
    assert "have 3 numbers, and those of this model have 2" in (result / "errors.jsonl").read_text()
