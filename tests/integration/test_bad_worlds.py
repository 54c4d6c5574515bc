"""Bad worlds: what a model server can do to a batch, and that every line comes out of it named.

SUMMARY
    A whole daemon beside a simulated Ollama that dies, lies, forgets its model, or comes back as another one.

DIAGNOSTICS
    None: tests.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from batchd.core.breaker import ALIKE_MIN
from tests.batches import user_text, write_batch
from tests.house import LivingDaemon
from tests.simulator import tag_of
from tests.simulator.child import ChildSimulator

#: Lines of each batch: enough that the blow falls in its middle.
LINES = 60


class World:
    """A simulated server and a daemon that is attached to it."""

    def __init__(self, root: Path, **settings: float) -> None:
        self.root = root
        self.server = ChildSimulator(None, slots=4, **{"delay_s": 0.1, **settings})

    def run(
        self, blow: Callable[[ChildSimulator], None], after: int = 10, **environment: str
    ) -> tuple[Path, str]:
        """The result directory and the log; the blow falls after so many answers."""
        batch = write_batch(self.root / "packages.jsonl", LINES, system="You are terse.")
        with (
            self.server,
            LivingDaemon(
                self.root / "spool", OLLAMA_HOST=self.server.address, BATCHD_SLOTS="4", **environment
            ) as daemon,
        ):
            if after == 0:
                blow(self.server)
            batch_id = daemon.submit(batch)
            if after:
                daemon.wait_until(lambda: self.server.counts()["answers"] > after, "answers")
                blow(self.server)
            return daemon.result(batch_id), daemon.log_path.read_text()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def outcomes(result: Path) -> dict[str, str]:
    """custom_id to "answered" or the code of its error."""
    answered = {line["custom_id"]: "answered" for line in lines_of(result / "output.jsonl")}
    failed = {}
    for line in lines_of(result / "errors.jsonl"):
        body = line["response"]["body"] if line["response"] else line
        failed[line["custom_id"]] = body["error"]["code"]
    assert not answered.keys() & failed.keys()
    return answered | failed


def everybody(lines: int = LINES) -> set[str]:
    return {f"package-{number}" for number in range(lines)}


def answers_are_their_own(result: Path) -> None:
    """Each answer carries the tag of its own request."""
    for line in lines_of(result / "output.jsonl"):
        number = int(line["custom_id"].removeprefix("package-"))
        text = line["response"]["body"]["choices"][0]["message"]["content"]
        assert text.startswith(tag_of(user_text(number))[:8])


def waits(daemon: LivingDaemon) -> dict[str, Any]:
    """What the status says of a model that cools; empty values where it does not."""
    path = daemon.spool / "status.json"
    model = (json.loads(path.read_text())["model"] if path.exists() else None) or {}
    return model if model.get("state") == "cooling" else {"next_try_at": None, "detail": ""}


def decisions(result: Path) -> list[str]:
    return [one["name"] for one in json.loads((result / "metrics.json").read_text())["decisions"]]


def test_a_poison_prompt_is_one_error_line_and_everybody_else_is_answered(tmp_path: Path) -> None:
    def poisons(server: ChildSimulator) -> None:
        server.poison(user_text(17).splitlines()[0], "kill")

    result, log = World(tmp_path).run(poisons, after=0)
    assert outcomes(result) == dict.fromkeys(everybody(), "answered") | {"package-17": "crash"}
    answers_are_their_own(result)
    assert {"slots_halved", "limits_restored"} <= set(decisions(result))
    assert "limits_restored" in log


@pytest.mark.parametrize("lie", ["garbage", "undone", "drop", "crossed"])
def test_garbage_half_answers_and_those_of_others_are_no_answers(tmp_path: Path, lie: str) -> None:
    def lies(server: ChildSimulator) -> None:
        server.fault(lie, 5)

    result, _ = World(tmp_path).run(lies)
    assert outcomes(result) == dict.fromkeys(everybody(), "answered")
    answers_are_their_own(result)
    faults = json.loads((result / "metrics.json").read_text())["faults"]
    assert faults["crash" if lie == "drop" else "server"] >= 3  # the others struck canaries


def test_a_model_that_is_removed_in_the_middle_fails_the_rest_by_its_name(tmp_path: Path) -> None:
    def removed(server: ChildSimulator) -> None:
        httpx.request(
            "DELETE", f"{server.address}/api/delete", json={"model": "smollm2:135m"}, trust_env=False
        ).raise_for_status()

    # Fewer than the breaker wants to see before it pauses the batch.
    result, _ = World(tmp_path, delay_s=0.5).run(removed, after=LINES - ALIKE_MIN + 1)
    found = outcomes(result)
    assert set(found) == everybody()
    assert set(found.values()) == {"answered", "model_not_found"}


def test_a_server_that_comes_back_as_another_version_goes_on_and_both_are_named(tmp_path: Path) -> None:
    def upgraded(server: ChildSimulator) -> None:
        server.fault("version", 0, text="0.40.0")
        server.fault("down", 0.5)

    result, _ = World(tmp_path).run(upgraded)
    assert outcomes(result) == dict.fromkeys(everybody(), "answered")
    loads = [
        one
        for one in json.loads((result / "metrics.json").read_text())["decisions"]
        if one["name"] == "model_loaded"
    ]
    assert ["0.33.0-rc2" in loads[0]["new"], "0.40.0" in loads[-1]["new"]] == [True, True]


def test_a_hung_runner_is_found_by_its_deadline_and_nobody_is_lost(tmp_path: Path) -> None:
    def hangs(server: ChildSimulator) -> None:
        server.fault("hang")

    result, log = World(tmp_path, hung_unload_s=0.2).run(hangs, BATCHD_REQUEST_TIMEOUT_S="2")
    assert outcomes(result) == dict.fromkeys(everybody(), "answered")
    assert "slots_reduced: 4 -> 3" in log


def test_a_server_that_starts_after_us_is_waited_for(tmp_path: Path) -> None:
    def starts_late(server: ChildSimulator) -> None:
        server.fault("down", 1.5)

    result, _ = World(tmp_path).run(starts_late, after=0)
    assert outcomes(result) == dict.fromkeys(everybody(), "answered")


def test_a_model_that_never_loads_says_why_and_when_it_is_tried_again(tmp_path: Path) -> None:
    """Memory that nobody has: the batch waits, then somebody makes room, and it goes on."""
    batch = write_batch(tmp_path / "packages.jsonl", LINES, system="You are terse.")
    with (
        ChildSimulator(slots=4, memory_bytes=1) as server,
        LivingDaemon(tmp_path / "spool", OLLAMA_HOST=server.address, BATCHD_SLOTS="4") as daemon,
    ):
        batch_id = daemon.submit(batch)
        daemon.wait_until(lambda: bool(waits(daemon)["next_try_at"]), "a pause")
        assert "insufficient memory" in waits(daemon)["detail"]
        server.fault("memory", 0)
        assert outcomes(daemon.result(batch_id)) == dict.fromkeys(everybody(), "answered")
        assert "insufficient memory" in daemon.log_path.read_text()
