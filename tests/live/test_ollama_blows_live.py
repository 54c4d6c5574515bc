"""Blows on a real Ollama, attached and own: its runner killed and stopped, no memory, somebody else's model.

SUMMARY
    BATCHD_TEST_OLLAMA          path of an ollama binary; its models (OLLAMA_MODELS) are only read
    BATCHD_TEST_RUNNER_KILLS, BATCHD_TEST_RUNNER_STOPS
                                how often; a hang is noticed after half a minute

DIAGNOSTICS
    None: tests.
"""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.batches import request_line, write_batch
from tests.blows import APART, LINES_EACH, descendants, ends, named, struck, wait_answered, well_done
from tests.house import LivingDaemon
from tests.live.served import MODEL, OTHER, RUNNER, Served, binary, owning

KILLS = int(os.environ.get("BATCHD_TEST_RUNNER_KILLS", "3"))
STOPS = int(os.environ.get("BATCHD_TEST_RUNNER_STOPS", "1"))
BLOWS = KILLS + STOPS
WAIT_S = 120.0 + 60.0 * KILLS + 180.0 * STOPS

#: What a server of ours, and each of its runners, may have: 24 slots with the window that the large bound
#: asks for take 5.3 GB, half of that 3.1 GB. The server itself takes 1.9 GB.
SLOTS = 24
ADDRESS_SPACE_BYTES = 4_000_000_000
LARGE_BOUND = 7_900

#: Whoever else uses an attached server waits for the requests in flight and a load, and not for the batch.
THEIR_TURN_S = 60.0

#: An answer that ends by itself, whatever its bound.
SHORT = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "schema": {"type": "string", "enum": ["yes", "no"]}},
    }
}

#: A daemon that was killed takes everything of its own along; the kernel tells the child at once.
ORPHANS_S = 20.0

#: Until speeds are known, who is silent for so long hangs: longer than an honest answer on a busy machine.
HANG_S = "45"

pytestmark = pytest.mark.live


@contextmanager
def attached(folder: Path, server: Served, slots: int, **more: str) -> Iterator[LivingDaemon]:
    with LivingDaemon(
        folder / "spool",
        BATCHD_OLLAMA__HOST=server.host,
        BATCHD_SLOTS=str(slots),
        BATCHD_PROFILES=str(folder / "profiles"),
        **{"BATCHD_REQUEST_TIMEOUT_S": HANG_S, **more},
    ) as daemon:
        yield daemon


def runner_of(daemon: LivingDaemon) -> int | None:
    return next(iter(named(descendants(daemon.pid), RUNNER)), None)


def blows() -> list[signal.Signals]:
    found = [signal.SIGKILL] * KILLS + [signal.SIGSTOP] * STOPS
    Random(BLOWS).shuffle(found)
    return found


def judged(path: Path, *bounds: int) -> Path:
    """Six lines of each bound, which begin alike; no answer is long, and one window is for all."""
    lines = [
        request_line(number, max_tokens=bound, system="Is this package useful? " * 9)
        for number, bound in enumerate(bound for bound in bounds for _ in range(6))
    ]
    path.write_text("".join(json.dumps(line | {"body": {**line["body"], **SHORT}}) + "\n" for line in lines))
    return path


@pytest.mark.timeout(120 + WAIT_S)
@pytest.mark.parametrize("mode", ["attach", "own"])
def test_kills_and_hangs_of_the_runner_lose_nothing_and_double_nothing(
    tmp_path: Path, models: Path, mode: str
) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES_EACH * BLOWS, system="Describe this package.")
    if mode == "own":
        with owning(tmp_path, models, 4, BATCHD_REQUEST_TIMEOUT_S=HANG_S) as daemon:
            batch_id = daemon.submit(batch)
            struck(daemon, blows(), lambda: runner_of(daemon), WAIT_S)
            result = daemon.result(batch_id, WAIT_S)
            daemon.stop()
    else:
        with Served(models, OLLAMA_NUM_PARALLEL="4") as server, attached(tmp_path, server, 4) as daemon:
            batch_id = daemon.submit(batch)
            struck(daemon, blows(), server.runner, WAIT_S)
            result = daemon.result(batch_id, WAIT_S)
            daemon.stop()
    found = well_done(daemon, batch, result)
    log = daemon.log_path.read_text()
    assert log.count("model server lost: crash") == KILLS
    assert log.count("model server lost: timeout") == STOPS
    assert sum(one["name"] == "model_loaded" for one in found) > BLOWS


@pytest.mark.timeout(300)
def test_an_own_servers_slots_that_do_not_fit_are_halved(tmp_path: Path, models: Path) -> None:
    batch = judged(tmp_path / "large.jsonl", 16, LARGE_BOUND)
    program = tmp_path / "limited-ollama"
    program.write_text(f'#!/bin/sh\nexec prlimit --as={ADDRESS_SPACE_BYTES} {binary()} "$@"\n')
    program.chmod(0o755)
    with owning(tmp_path, models, SLOTS, program, BATCHD_REQUEST_TIMEOUT_S=HANG_S) as daemon:
        result = daemon.result(daemon.submit(batch), 240)
        daemon.stop()
    [first, *_] = [one for one in well_done(daemon, batch, result) if one["name"] != "model_loaded"]
    assert (first["name"], first["old"], first["new"]) == ("slots_halved", str(SLOTS), str(SLOTS // 2))
    assert "insufficient memory" in first["evidence"]


@pytest.mark.timeout(300)
def test_an_attached_servers_window_that_does_not_fit_is_halved(tmp_path: Path, models: Path) -> None:
    batch = judged(tmp_path / "large.jsonl", 16, LARGE_BOUND)
    with (
        Served(models, ADDRESS_SPACE_BYTES, OLLAMA_NUM_PARALLEL=str(SLOTS)) as server,
        attached(tmp_path, server, 2) as daemon,
    ):
        result = daemon.result(daemon.submit(batch), 240)
        daemon.stop()
    [first, *_] = [one for one in well_done(daemon, batch, result) if one["name"] != "model_loaded"]
    assert first["name"] == "window_reduced"
    assert int(first["new"]) == pytest.approx(int(first["old"]) / 2, abs=256)
    assert "insufficient memory" in first["evidence"]


@pytest.mark.timeout(300)
def test_a_load_that_nothing_can_make_smaller_is_waited_for(tmp_path: Path, models: Path) -> None:
    batch = judged(tmp_path / "large.jsonl", LARGE_BOUND)
    with (
        Served(models, ADDRESS_SPACE_BYTES, OLLAMA_NUM_PARALLEL=str(SLOTS)) as server,
        attached(tmp_path, server, 2) as daemon,
    ):
        batch_id = daemon.submit(batch)

        def model() -> dict[str, object]:
            path = daemon.spool / "status.json"
            status = json.loads(path.read_bytes()) if path.exists() else {}
            found: dict[str, object] = status.get("model") or {}
            return found

        daemon.wait_until(lambda: model().get("state") == "cooling", "a wait for memory", 120)
        assert "insufficient memory" in str(model())
        server.limit(1 << 40)  # whoever had the memory has gone
        result = daemon.result(batch_id, 240)
        daemon.stop()
    well_done(daemon, batch, result)
    assert "model not ready: " in daemon.log_path.read_text()


@pytest.mark.timeout(300)
def test_somebody_elses_model_has_its_turn_in_between(tmp_path: Path, models: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 60, system="Describe this package.")
    with (
        Served(models, OLLAMA_NUM_PARALLEL="1", OLLAMA_MAX_LOADED_MODELS="1") as server,
        attached(tmp_path, server, 1) as daemon,
    ):
        server.make_other()
        batch_id = daemon.submit(batch)
        for turn in range(1, 4):
            wait_answered(daemon, LINES_EACH * turn, 120)
            body = {"model": OTHER, "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
            assert server.ask("/api/generate", body, THEIR_TURN_S)["done"] is True
        result = daemon.result(batch_id, 240)
        daemon.stop()
    names = [one["name"] for one in well_done(daemon, batch, result)]
    assert 1 <= names.count("model_displaced") <= 3
    assert all(json.loads(line)["response"]["body"]["model"] == MODEL for line in _output(result))


@pytest.mark.timeout(300)
def test_with_several_slots_somebody_elses_model_has_its_turn_at_the_end_at_the_latest(
    tmp_path: Path, models: Path
) -> None:
    """Ollama puts a model out when none of its slots is in use, which may not come before."""
    batch = write_batch(tmp_path / "packages.jsonl", 2 * LINES_EACH, system="Describe this package.")
    with (
        Served(models, OLLAMA_NUM_PARALLEL="2", OLLAMA_MAX_LOADED_MODELS="1") as server,
        attached(tmp_path, server, 2) as daemon,
        ThreadPoolExecutor(1) as other,
    ):
        server.make_other()
        batch_id = daemon.submit(batch)
        wait_answered(daemon, APART, 120)
        body = {"model": OTHER, "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
        theirs = other.submit(server.ask, "/api/generate", body, 250)
        result = daemon.result(batch_id, 200)
        assert theirs.result(THEIR_TURN_S)["done"] is True
        daemon.stop()
    well_done(daemon, batch, result)


@pytest.mark.timeout(600)
def test_somebody_elses_long_answer_is_waited_for_and_charged_to_nobody(tmp_path: Path, models: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 3 * LINES_EACH, system="Describe this package.")
    with (
        Served(models, OLLAMA_NUM_PARALLEL="1", OLLAMA_MAX_LOADED_MODELS="1") as server,
        attached(tmp_path, server, 1, BATCHD_REQUEST_TIMEOUT_S="30") as daemon,
        ThreadPoolExecutor(1) as other,
    ):
        server.make_other()
        batch_id = daemon.submit(batch)
        wait_answered(daemon, LINES_EACH, 120)
        ours = server.runner()
        body = {"model": OTHER, "prompt": "hi", "stream": False, "keep_alive": "1s"}
        theirs = other.submit(server.ask, "/api/generate", body)
        daemon.wait_until(lambda: server.runner() not in (ours, None), "their runner", 60)
        runner = server.runner()
        assert runner is not None
        os.kill(runner, signal.SIGSTOP)  # a long answer
        try:
            daemon.wait_until(lambda: "it is waited for" in daemon.log(), "a word on who is there", 150)
        finally:
            os.kill(runner, signal.SIGCONT)
        assert theirs.result(150)["done"] is True
        result = daemon.result(batch_id, 200)
        daemon.stop()
    found = well_done(daemon, batch, result)
    assert {one["name"] for one in found} <= {"model_loaded", "model_displaced"}
    assert "suspect" not in daemon.log_path.read_text()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("blow", [None, signal.SIGSTOP], ids=["at-work", "hanging"])
def test_a_killed_daemon_leaves_no_ollama_and_no_runner(
    tmp_path: Path, models: Path, blow: signal.Signals | None
) -> None:
    """With a runner that works, and with one that hangs."""
    batch = write_batch(tmp_path / "packages.jsonl", 200, max_tokens=64, system="Tell a long story.")
    with owning(tmp_path, models, 2, BATCHD_REQUEST_TIMEOUT_S=HANG_S) as daemon:
        daemon.submit(batch)
        wait_answered(daemon, 2, 90)
        below = descendants(daemon.pid)
        [runner] = named(below, RUNNER)
        assert named(below, " serve")
        if blow is not None:
            os.kill(runner, blow)
        daemon.kill()
        assert ends(below, ORPHANS_S)


def _output(result: Path) -> list[bytes]:
    return (result / "output.jsonl").read_bytes().splitlines()
