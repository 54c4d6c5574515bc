"""The doctor at work: on a machine with nothing, with a server, and with looks that fail."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from batchd.app import doctor as doctor_module
from batchd.app.blocking import abandonable
from batchd.app.doctor import _Visit, examine
from batchd.app.own_models import refuse_unreadable
from batchd.core.doctor.finding import Finding, Verdict
from batchd.errors import ConfigError
from batchd.settings import Settings
from tests.edges.test_ollama_server_models import fill
from tests.simulator.child import ChildSimulator

NOBODY_THERE = "127.0.0.1:9"


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(spool=tmp_path / "spool", **more)


async def found_with(chosen: Settings, is_quick: bool = True) -> dict[str, list[Finding]]:
    looks: list[str] = []
    found = await examine(chosen, {"HOME": str(chosen.spool.parent)}, is_quick, looks.append)
    by_topic: dict[str, list[Finding]] = {}
    for finding in found:
        by_topic.setdefault(finding.topic, []).append(finding)
    assert set(by_topic) - {"gpu share", "memory"} <= set(looks)
    return by_topic


async def test_on_a_machine_with_nothing_every_look_says_something(tmp_path: Path) -> None:
    found = await found_with(settings(tmp_path, ollama={"host": NOBODY_THERE, "mode": "attach"}))
    assert found["engine"][0].verdict is Verdict.PROBLEM
    assert found["engine"][0].step
    assert {"gpu", "embedded", "spool", "disk", "sleep", "neighbours"} <= set(found)
    assert "models" not in found
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize(("has", "asked", "verdict"), [(4, 4, Verdict.OK), (1, 4, Verdict.WARNING)])
async def test_slots_of_a_server_are_measured(tmp_path: Path, has: int, asked: int, verdict: Verdict) -> None:
    with ChildSimulator(slots=has, decode_rate=60.0) as server:
        chosen = settings(tmp_path, slots=asked, ollama={"host": server.address, "mode": "attach"})
        found = await found_with(chosen, is_quick=False)
        again = await found_with(chosen, is_quick=False)
    assert found["slots"][0].verdict is verdict, found["slots"]
    assert f"{has} ran at one time" in found["slots"][0].saw
    assert again["slots"] == found["slots"], "the model was put out again"
    assert found["engine"][0].verdict is Verdict.OK
    assert Verdict.OK in [finding.verdict for finding in found["models"]]


async def test_each_of_several_servers_is_named_and_the_first_that_answers_is_looked_at(
    tmp_path: Path,
) -> None:
    with ChildSimulator(slots=2, decode_rate=60.0) as one, ChildSimulator() as other:
        hosts = (f"http://{NOBODY_THERE}", one.address, other.address)
        chosen = settings(tmp_path, slots=2, ollama={"hosts": hosts})
        found = await found_with(chosen, is_quick=False)
        assert other.counts()["loads"] == 0
    said = {host: finding for finding in found["engine"] for host in hosts if host in finding.saw}
    assert [said[host].verdict for host in hosts] == [Verdict.PROBLEM, Verdict.OK, Verdict.OK]
    assert "2 ran at one time" in found["slots"][0].saw


async def test_each_own_server_is_named_by_its_card(tmp_path: Path) -> None:
    program = tmp_path / "ollama"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    models = fill(tmp_path / "models")
    chosen = settings(tmp_path, ollama={"gpus": ("0", "3"), "binary": program, "models_dir": models})
    found = await found_with(chosen)
    assert [finding.saw.count(f"on GPU {card}") for finding in found["engine"] for card in "03"] == [
        1,
        0,
        0,
        1,
    ]


async def test_a_quick_look_loads_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with ChildSimulator(log) as server:
        found = await found_with(settings(tmp_path, ollama={"host": server.address, "mode": "attach"}))
        asked = [entry["path"] for entry in server.seen()]
    assert "slots" not in found
    assert not {"/api/generate", "/api/chat"} & set(asked)


async def test_an_engine_without_a_model_file_is_a_problem_and_the_rest_is_seen(tmp_path: Path) -> None:
    found = await found_with(settings(tmp_path, engine="llamacpp"))
    assert found["engine"][0].verdict is Verdict.PROBLEM
    assert "spool" in found


async def test_a_setup_that_cannot_be_is_a_problem_and_the_rest_is_seen(tmp_path: Path) -> None:
    chosen = settings(tmp_path, ollama={"mode": "own", "binary": tmp_path / "absent"})
    found = await found_with(chosen)
    assert found["engine"][0].verdict is Verdict.PROBLEM
    assert "ollama.binary" in found["engine"][0].step
    assert "neighbours" in found


async def test_a_look_that_fails_or_hangs_hides_no_other(tmp_path: Path) -> None:
    visit = _Visit(settings(tmp_path), {}, True, lambda topic: None)

    async def fails() -> Iterable[Finding]:
        raise OSError("the mount is dead")

    async def hangs() -> Iterable[Finding]:
        await abandonable(time.sleep, 60)
        return []

    [failed] = await visit.looked("disk", fails)
    [hung] = await visit.looked("spool", hangs, 0.05)
    assert (failed.verdict, hung.verdict) == (Verdict.WARNING, Verdict.WARNING)
    assert "OSError: the mount is dead" in failed.saw
    assert "longer than" in hung.saw


async def test_the_embedded_engine_is_told_even_where_the_cards_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(programs: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(doctor_module, "look_at_machine", broken)
    found = await found_with(settings(tmp_path, ollama={"host": NOBODY_THERE, "mode": "attach"}))
    assert found["gpu"][0].verdict is Verdict.WARNING
    assert found["embedded"]


def test_an_own_server_that_would_know_no_model_is_refused(tmp_path: Path) -> None:
    places, home = (fill(tmp_path / "service"),), {"HOME": str(tmp_path / "somebody")}
    refuse_unreadable(home, places[0], places)
    refuse_unreadable({**home, "OLLAMA_MODELS": str(places[0])}, None, places)
    refuse_unreadable(home, None, (tmp_path / "absent",))  # no models at all: the server says so by itself
    with pytest.raises(ConfigError) as refused:
        refuse_unreadable(home, None, places)
    assert f"BATCHD_OLLAMA__MODELS_DIR={places[0]}" in refused.value.next_step


async def test_what_is_abandoned_neither_blocks_nor_speaks() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await abandonable(time.sleep, 0.2)
    await asyncio.sleep(0.3)
    with pytest.raises(ZeroDivisionError):
        await abandonable(lambda: 1 // 0)
    assert await abandonable(str, 5) == "5"
