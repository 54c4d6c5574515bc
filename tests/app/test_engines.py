"""The engines: which server the settings mean, whose slots they are, and one that does not answer."""

import threading
from pathlib import Path
from typing import Any

import pytest

from batchd.app.engines import ASK_PAUSE_S, REACH_TIMEOUT_S, Engine, build_engine, journal_of, wait_for
from batchd.core.fault import ModelFault
from batchd.core.limits import Limits
from batchd.core.model import ServerDescription
from batchd.edges.clock import SystemClock
from batchd.edges.gpu import read_cards
from batchd.errors import ConfigError, UnavailableError
from batchd.settings import Settings
from tests.fakes.fake_clock import FakeClock
from tests.fakes.scripted_model import ScriptedServer, out_of_order, refused, unreachable


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(spool=tmp_path / "spool", **more)


async def test_an_attached_ollama_keeps_its_slots_to_itself(tmp_path: Path) -> None:
    engine = await build_engine(settings(tmp_path, ollama={"mode": "attach"}), SystemClock())
    assert (engine.name, engine.address) == ("ollama", "http://127.0.0.1:11434")
    assert engine.limits == Limits(1, owns_slots=False, has_card=bool(read_cards()[0]))
    await engine.server.close()


@pytest.mark.parametrize("ollama", [{"mode": "attach"}, {"hosts": ["http://127.0.0.1:11434"]}])
async def test_the_cards_are_looked_for_off_the_event_loop(
    tmp_path: Path, ollama: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[threading.Thread] = []

    def read() -> tuple[tuple[()], str]:
        asked.append(threading.current_thread())
        return (), ""

    monkeypatch.setattr("batchd.app.engines.read_cards", read)
    engine = await build_engine(settings(tmp_path, ollama=ollama), SystemClock())
    await engine.server.close()
    assert len(asked) == 1
    assert asked[0] is not threading.main_thread()


async def test_a_remote_ollamas_card_is_not_the_one_of_this_machine(tmp_path: Path) -> None:
    remote = settings(tmp_path, ollama={"mode": "attach", "host": "http://192.0.2.1:11434"})
    engine = await build_engine(remote, SystemClock())
    assert not engine.limits.has_card
    await engine.server.close()


async def test_an_own_ollama_has_slots_of_ours(tmp_path: Path) -> None:
    program = tmp_path / "ollama"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    own = settings(tmp_path, ollama={"mode": "own", "binary": program})
    engine = await build_engine(own, SystemClock())
    assert engine.limits == Limits(4, owns_slots=True, has_card=bool(read_cards()[0]))
    assert engine.address == "a private server"
    await engine.server.close()


async def test_an_own_ollama_without_a_program_is_a_matter_of_configuration(tmp_path: Path) -> None:
    own = settings(tmp_path, ollama={"mode": "own", "binary": tmp_path / "no-such"})
    with pytest.raises(ConfigError, match="no-such"):
        await build_engine(own, SystemClock())


async def test_a_named_number_of_slots_is_asked_for_whoever_owns_them(tmp_path: Path) -> None:
    attached = settings(tmp_path, slots=3, ollama={"mode": "attach"})
    engine = await build_engine(attached, SystemClock())
    assert engine.limits == Limits(3, owns_slots=False, has_card=bool(read_cards()[0]))
    await engine.server.close()


async def test_a_llama_server_by_its_url_keeps_its_slots_to_itself(tmp_path: Path) -> None:
    named = settings(tmp_path, engine="llamacpp", llamacpp={"url": "http://127.0.0.1:8080", "api_key": "k"})
    engine = await build_engine(named, SystemClock())
    assert (engine.name, engine.address) == ("llamacpp", "http://127.0.0.1:8080")
    assert engine.limits == Limits(1, owns_slots=False)
    await engine.server.close()


async def test_an_embedded_engine_has_slots_of_ours(tmp_path: Path) -> None:
    gguf = tmp_path / "m.gguf"
    gguf.touch()
    embedded = settings(tmp_path, engine="llamacpp", llamacpp={"gguf": gguf})
    engine = await build_engine(embedded, SystemClock())
    assert engine.limits == Limits(4, owns_slots=True)
    await engine.server.close()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [({}, "has no model file"), ({"gguf": "/no/such.gguf"}, "no model file /no/such.gguf")],
)
async def test_an_embedded_engine_without_a_file_is_a_matter_of_configuration(
    tmp_path: Path, chosen: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        await build_engine(settings(tmp_path, engine="llamacpp", llamacpp=chosen), SystemClock())


def engine_of(server: ScriptedServer) -> Engine:
    return Engine(server, Limits(1, owns_slots=True), "scripted", "there", "Start it.")


class Deaf(ScriptedServer):
    """Does not say who it is, for so many times."""

    def __init__(self, fault: ModelFault, times: int) -> None:
        super().__init__()
        self._fault = fault
        self.left = times

    async def describe(self, timeout_s: float) -> ServerDescription | ModelFault:
        self.left -= 1
        return await super().describe(timeout_s) if self.left < 0 else self._fault


async def test_a_server_that_is_just_starting_is_waited_for() -> None:
    clock = FakeClock()
    [described] = await wait_for([engine_of(Deaf(unreachable(), 3))], clock)
    assert described.engine == "scripted"
    assert clock.slept == [ASK_PAUSE_S] * 3


async def test_a_server_out_of_reach_is_given_up_with_the_next_step() -> None:
    clock = FakeClock()
    with pytest.raises(UnavailableError, match=r"at there cannot be used: connection refused\.?") as raised:
        await wait_for([engine_of(Deaf(unreachable(), 10_000))], clock)
    assert sum(clock.slept) == REACH_TIMEOUT_S
    assert raised.value.next_step == "Start it."


@pytest.mark.parametrize("fault", [refused("wrong key"), out_of_order("wrong key")])
async def test_a_server_that_only_a_person_can_mend_is_not_waited_for(fault: ModelFault) -> None:
    clock = FakeClock()
    with pytest.raises(UnavailableError, match="wrong key"):
        await wait_for([engine_of(Deaf(fault, 10_000))], clock)
    assert clock.slept == []


async def test_the_next_step_is_that_of_the_engine(tmp_path: Path) -> None:
    by_url = settings(tmp_path, engine="llamacpp", llamacpp={"url": "http://127.0.0.1:8080"})
    attached = settings(tmp_path, ollama={"mode": "attach"})
    hints = [(await build_engine(chosen, SystemClock())).hint for chosen in (by_url, attached)]
    assert "llamacpp.url" in hints[0]
    assert "ollama serve" in hints[1]


@pytest.mark.parametrize(
    ("host", "unit", "is_read"),
    [
        ("127.0.0.1:11434", "ollama.service", True),
        ("127.0.0.1:11434", "", False),
        ("127.0.0.1:11434", "other.service", False),
        ("http://192.0.2.1:11434", "ollama.service", False),
    ],
)
def test_the_journal_is_read_of_a_service_of_this_machine_only(
    tmp_path: Path, host: str, unit: str, is_read: bool
) -> None:
    (tmp_path / "ollama.service").touch()
    log = journal_of(settings(tmp_path, ollama={"host": host, "unit": unit}), host, (tmp_path,))
    assert (log is not None) == is_read


async def test_what_a_server_keeps_of_prompts_is_known_where_it_is_ours(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    chosen: list[tuple[dict[str, Any], int | None]] = [
        ({"ollama": {"mode": "attach"}}, None),
        ({"ollama": {"mode": "own", "binary": "/bin/true"}}, 0),
        ({"engine": "llamacpp", "llamacpp": {"gguf": model}}, 0),
        ({"engine": "llamacpp", "llamacpp": {"gguf": model, "cache_ram_mib": 512}}, 512),
        ({"engine": "llamacpp", "llamacpp": {"url": "http://127.0.0.1:9"}}, None),
    ]
    for more, expected in chosen:
        engine = await build_engine(settings(tmp_path, **more), SystemClock())
        assert engine.prompt_cache_mib == expected
        await engine.server.close()
