"""A calibration against a server whose memory and speed the test knows, and the calibration does not."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchd.app import calibrate as calibrate_module
from batchd.app import calibrate_trial
from batchd.app.calibrate import calibrate
from batchd.app.calibrate_trial import beside_the_card, free_bytes, held_bytes
from batchd.app.engines import Engine
from batchd.app.profiles import Advisor, identity_of, with_profiles
from batchd.core.calibration import Profile
from batchd.core.fault import Category, ModelFault
from batchd.core.limits import Limits
from batchd.core.model import Answer, Load, Loaded, ServerDescription, Source, Usage
from batchd.core.readings import Card, Reading
from batchd.core.request import Request
from batchd.edges.profiles import save
from batchd.errors import UnavailableError
from batchd.settings import Settings
from tests.fakes.fake_clock import FakeClock

MB = 10**6
CARD = Card("a card", "580", 16_384, 100)


class Machine:
    """A model server with so much memory; beyond four slots it answers no more a second."""

    def __init__(
        self,
        clock: FakeClock,
        memory_mb: float = 1_000,
        slots: int | None = None,
        spills: bool = False,
        fails_under_load_above_mb: float = 1e9,
        beside: int = 4,
    ) -> None:
        self.clock = clock
        self.memory_mb = memory_mb
        self.slots = slots
        self.spills = spills
        self.beside = beside
        self.fragile_mb = fails_under_load_above_mb
        self.loads: list[Load] = []
        self.now: Load | None = None
        self.told: list[str] = []
        self.gate = asyncio.Semaphore(1)
        self.is_away = False

    @staticmethod
    def megabytes(load: Load) -> float:
        return 100 + load.slots * load.window_tokens * 0.02

    async def describe(self, timeout_s: float) -> ServerDescription | ModelFault:
        if self.is_away:
            return ModelFault(Category.NETWORK, "connection refused", True, is_server_lost=True)
        return ServerDescription("ollama", "0.33", "own" if self.slots is None else "attach", "http://here")

    async def digests(self, models: Sequence[str], timeout_s: float) -> Mapping[str, str] | ModelFault:
        return {name: "sha256:1" for name in models if name == "m"}

    async def count_tokens(self, request: Request) -> int | None:
        return None

    async def load(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
        load = load if self.slots is None else replace(load, slots=self.slots)
        self.loads.append(load)
        size = self.megabytes(load)
        self.now = None
        if size > self.memory_mb and not self.spills:
            return ModelFault(Category.OOM, "cudaMalloc failed: out of memory", True, is_server_lost=True)
        self.now, self.gate = load, asyncio.Semaphore(load.slots)
        on_card = int(min(size, self.memory_mb) * MB)
        return Loaded(
            "m", "sha256:1", "Q4", load.window_tokens, load.slots, int(size * MB), on_card, 32_768, 0.1
        )

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        assert self.now is not None
        async with self.gate:
            took_s = request.completion_tokens_max / 32 * max(1.0, self.now.slots / self.beside)
            await self.clock.sleep(0 if self.clock._runs else took_s)
        is_real = request.completion_tokens_max > 4
        if is_real and self.megabytes(self.now) > self.fragile_mb:
            return ModelFault(Category.CRASH, "unexpected EOF", True, is_server_lost=True)
        usage = Usage(100, request.completion_tokens_max, 50, Source.ENGINE, took_s / 10, took_s * 0.9)
        return Answer("yes", None, "length", usage)

    async def unload(self, timeout_s: float) -> None:
        self.told.append("unload")

    async def restart(self, timeout_s: float) -> ModelFault | None:
        self.told.append("restart")
        return None

    async def close(self) -> None:
        self.told.append("close")


async def calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: Reading, minutes: float = 1.0, **machine: Any
) -> tuple[Profile, Machine, list[tuple[float, str]]]:
    """Time stands still but for the answers."""
    monkeypatch.setattr(calibrate_module, "look_at_machine", lambda: reading)
    monkeypatch.setattr(calibrate_trial, "look_at_machine", lambda programs: reading)
    clock, steps = FakeClock(runs=False), list[tuple[float, str]]()
    server = Machine(clock, **machine)
    engine = Engine(server, Limits(4, owns_slots=server.slots is None), "ollama", "http://here", "mend it")
    settings = Settings(spool=tmp_path / "spool")

    async def turn() -> None:
        while True:
            await asyncio.sleep(0.0005)
            await clock.advance(0.25)

    async with asyncio.TaskGroup() as group:
        turning = group.create_task(turn())
        try:
            profile = await calibrate(
                engine, settings, "m", minutes, clock, lambda share, text: steps.append((share, text))
            )
        finally:
            turning.cancel()
    return profile, server, steps


async def test_the_line_the_windows_the_rates_and_the_choice_are_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, server, steps = await calibrated(tmp_path, monkeypatch, Reading((CARD,)), 0.2)
    assert profile.line is not None
    assert profile.line.base_bytes == pytest.approx(100 * MB, rel=1e-3)
    assert profile.line.token_bytes == pytest.approx(20_000, rel=1e-3)
    assert profile.source == "server"
    room = (1_000 - 100) / 0.02  # tokens that fit
    rows = {row.slots: row for row in profile.rows}
    assert set(rows) == {1, 2, 4, 8, 16}
    for slots, row in rows.items():
        truth = min(room / slots, 32_768)
        assert row.window_tokens <= truth
        assert row.window_tokens >= truth * 0.9 - 512
        assert row.safe_tokens <= row.window_tokens
    assert rows[1].safe_tokens == 32_768, "not memory but the cap was the limit"
    assert rows[4].requests_per_s > 2 * rows[1].requests_per_s
    assert profile.slots == 4, "eight are no faster"
    assert profile.window_tokens == rows[4].safe_tokens
    assert profile.proof is not None
    assert profile.proof.requests > 0
    assert [share for share, _ in steps] == sorted(share for share, _ in steps)
    assert steps[-1] == (1.0, "done")
    assert server.told[-1] == "unload"
    assert len(server.loads) < 40


async def test_slots_that_were_not_put_under_load_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, _, _ = await calibrated(tmp_path, monkeypatch, Reading((CARD,)), 0.2, beside=1)
    assert [row.slots for row in profile.rows if not row.requests_per_s] == [8, 16]
    assert any(note.startswith("from 8 slots on no load was measured") for note in profile.notes)
    assert profile.slots == 1


async def test_what_fails_under_load_is_taken_smaller_and_proven_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, _, _ = await calibrated(
        tmp_path, monkeypatch, Reading((CARD,)), 0.1, fails_under_load_above_mb=750.0
    )
    assert any("failed" in note for note in profile.notes)
    assert 100 + profile.slots * profile.window_tokens * 0.02 <= 750


async def test_on_an_attached_server_the_slots_are_measured_and_only_the_window_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, server, _ = await calibrated(tmp_path, monkeypatch, Reading((CARD,)), 0.1, slots=4)
    assert [row.slots for row in profile.rows] == [4]
    assert profile.identity.mode == "attach"
    assert server.told[-1] == "restart", "nobody had it before us: it is put out"


async def test_a_model_that_falls_beside_the_card_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, _, _ = await calibrated(tmp_path, monkeypatch, Reading((CARD,)), 0.1, spills=True)
    beside = [trial for trial in profile.trials if not trial.fits]
    assert beside
    assert all("lie on the GPU" in trial.why for trial in beside)


async def test_without_a_card_nothing_is_tried_that_the_machine_has_no_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Reading(memory_total_bytes=2_000 * MB, memory_free_bytes=800 * MB)
    profile, server, _ = await calibrated(tmp_path, monkeypatch, reading, 0.1, memory_mb=10_000)
    assert max(server.megabytes(load) for load in server.loads) <= 800 * 0.85
    assert any(trial.why.startswith("not tried") for trial in profile.trials)
    assert profile.identity.memory_gb == 2


@pytest.mark.parametrize(("machine", "words"), [({"memory_mb": 50}, "does not even load")])
async def test_a_model_that_never_loads_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: dict[str, Any], words: str
) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await calibrated(tmp_path, monkeypatch, Reading((CARD,)), 0.1, **machine)
    [error] = raised.value.exceptions
    assert isinstance(error, UnavailableError)
    assert words in error.message


def test_who_knows_the_memory_best_is_believed() -> None:
    loaded = Loaded("m", "d", None, 1, 1, 5, 5, None, 0.0)
    assert held_bytes(Reading((replace(CARD, ours_mib=2),), server_bytes=7), loaded) == (2 * 2**20, "driver")
    assert held_bytes(Reading((CARD,), server_bytes=7), loaded) == (5, "server")
    assert held_bytes(Reading(server_bytes=7), replace(loaded, size_bytes=None)) == (7, "kernel")
    assert held_bytes(Reading(), None) == (None, "unknown")


def test_the_tighter_of_machine_and_control_group_is_free() -> None:
    assert free_bytes(Reading()) is None
    assert free_bytes(Reading(memory_free_bytes=9)) == 9
    assert free_bytes(Reading(memory_free_bytes=9, group_limit_bytes=10, group_used_bytes=4)) == 6


def test_beside_the_card_is_only_where_there_is_one() -> None:
    half = Loaded("m", "d", None, 1, 1, 10, 5, None, 0.0)
    assert beside_the_card(half, 0) is None
    assert beside_the_card(replace(half, gpu_bytes=10), 1) is None
    assert beside_the_card(half, 1) == "only 50% of it lie on the GPU"


# --- what the daemon makes of it -------------------------------------------------------------------------


async def advisor_of(
    tmp_path: Path, profile: Profile, slots: int | None = None, reading: Reading | None = None
) -> tuple[Advisor, Engine]:
    save(tmp_path / "profiles", "m.1", profile.to_json(), "<svg/>")
    (tmp_path / "profiles" / "broken.json").write_text("{")
    server = Machine(FakeClock())
    engine = Engine(server, Limits(4, owns_slots=True), "ollama", "http://here", "")
    shown = reading or Reading((CARD,))
    return Advisor(tmp_path / "profiles", engine, slots, lambda: shown), engine


@pytest.fixture
def profile() -> Profile:
    from tests.core.test_calibration import PROFILE

    described = ServerDescription("ollama", "0.33", "own", "")
    now = identity_of("m", "sha256:1", described, Reading((CARD,)))
    return replace(PROFILE, identity=now, slots=8)


async def test_a_profile_decides_the_slots_for_each_window(tmp_path: Path, profile: Profile) -> None:
    advisor, _ = await advisor_of(tmp_path, profile)
    assert advisor.slots_max() == 8
    assert (await advisor.advise(Load("m", 2_048, 8))).slots == 4
    assert (await advisor.advise(Load("m", 12_000, 8))).slots == 2
    assert (await advisor.advise(Load("m", 2_048, 8, is_embedding=True))).slots == 4
    assert (await advisor.advise(Load("other", 2_048, 8))).slots == 4, "as the engine begins"


async def test_the_operators_own_number_is_never_exceeded(tmp_path: Path, profile: Profile) -> None:
    advisor, _ = await advisor_of(tmp_path, profile, slots=2)
    assert advisor.slots_max() == 4, "what the engine was built with"
    assert (await advisor.advise(Load("m", 2_048, 4))).slots == 2


async def test_a_stale_profile_is_not_used(tmp_path: Path, profile: Profile) -> None:
    other = Reading((replace(CARD, driver="590"),))
    advisor, _ = await advisor_of(tmp_path, profile, reading=other)
    assert (await advisor.advise(Load("m", 12_000, 8))).slots == 4


async def test_a_server_that_cannot_be_asked_yet_is_asked_again(tmp_path: Path, profile: Profile) -> None:
    advisor, engine = await advisor_of(tmp_path, profile)
    assert isinstance(engine.server, Machine)
    engine.server.is_away = True
    assert (await advisor.advise(Load("m", 12_000, 8))).slots == 4
    engine.server.is_away = False
    assert (await advisor.advise(Load("m", 12_000, 8))).slots == 2


async def test_without_profiles_nothing_is_asked_and_nothing_changes(tmp_path: Path) -> None:
    engine = Engine(Machine(FakeClock()), Limits(4, True), "ollama", "", "")
    [advised] = with_profiles([engine], Settings(spool=tmp_path), lambda: pytest.fail("nobody looks"))
    assert advised.limits == engine.limits
    assert await advised.advise(Load("m", 12_000, 4)) == Load("m", 12_000, 4)
