"""Readings of the GPU, with a driver, with half of one, and with none.

DIAGNOSTICS
    None: tests.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from batchd.core.readings import Card
from batchd.edges import gpu
from batchd.edges.gpu import card_ids, read_cards


class Driver:
    """Stands for NVIDIA's library, two cards wide; `broken` names the call that fails."""

    def __init__(self, broken: str = "", cards: int = 2, code: int = pynvml.NVML_ERROR_UNKNOWN) -> None:
        self.broken = broken
        self.code = code
        self.cards = cards
        self.sessions = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in dir(self):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, self._call(name))

    def _call(self, name: str) -> object:
        def call(*args: object) -> object:
            if name == self.broken:
                raise pynvml.NVMLError(self.code)
            return getattr(self, name)(*args)

        return call

    def nvmlInit(self) -> None:  # noqa: N802  (the library's own names)
        self.sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.sessions -= 1

    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802  (older libraries answered in bytes)
        return b"580.10"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, card: int) -> str:  # noqa: N802
        return f"GPU-{card}"

    def nvmlDeviceGetName(self, card: int) -> str:  # noqa: N802
        return f"Card {card}"

    def nvmlDeviceGetMemoryInfo(self, card: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=16 * 2**30, used=(card + 1) * 2**30)

    def nvmlDeviceGetPowerUsage(self, card: int) -> int:  # noqa: N802
        return 61_500

    def nvmlDeviceGetTotalEnergyConsumption(self, card: int) -> int:  # noqa: N802
        return 7_200_000

    def nvmlDeviceGetComputeRunningProcesses(self, card: int) -> list[SimpleNamespace]:  # noqa: N802
        sizes = {10: 2**30, 11: 2**29, 12: None}
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in sizes.items()]


def test_every_card_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    driver.install(monkeypatch)
    assert read_cards({10, 11, 12}) == (
        (
            Card("Card 0", "580.10", 16_384, 1_024, 1_536, 61.5, 7_200.0),
            Card("Card 1", "580.10", 16_384, 2_048, 1_536, 61.5, 7_200.0),
        ),
        "",
    )
    assert driver.sessions == 0


@pytest.mark.parametrize("pids", [set(), {12}, {99}])
def test_nobody_knows_our_share_where_the_driver_does_not_tell_it(
    monkeypatch: pytest.MonkeyPatch, pids: set[int]
) -> None:
    Driver().install(monkeypatch)
    assert [card.ours_mib for card in read_cards(pids)[0]] == [None, None]


@pytest.mark.parametrize(
    ("lacking", "field"),
    [
        ("nvmlDeviceGetMemoryInfo", "total_mib"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_j"),
        ("nvmlDeviceGetComputeRunningProcesses", "ours_mib"),
    ],
)
def test_what_a_card_does_not_know_spoils_nothing_else(
    monkeypatch: pytest.MonkeyPatch, lacking: str, field: str
) -> None:
    Driver(lacking, code=pynvml.NVML_ERROR_NOT_SUPPORTED).install(monkeypatch)
    cards, trouble = read_cards({10})
    assert [getattr(card, field) for card in cards] == [None, None]
    assert trouble == ""


@pytest.mark.parametrize(
    "broken",
    ["nvmlInit", "nvmlSystemGetDriverVersion", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"],
)
def test_a_driver_that_fails_is_no_card_and_a_text(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    driver = Driver(broken)
    driver.install(monkeypatch)
    cards, trouble = read_cards()
    assert cards == ()
    assert "Unknown Error" in trouble
    assert driver.sessions == 0


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_machine_without_such_a_card_is_no_trouble_but_a_hidden_one_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, is_loaded: bool
) -> None:
    version = tmp_path / "version"
    if is_loaded:
        version.touch()
    monkeypatch.setattr(gpu, "DRIVER_VERSION", version)
    Driver("nvmlInit", code=code).install(monkeypatch)
    cards, trouble = read_cards()
    assert (cards, bool(trouble)) == ((), is_loaded)


def test_a_session_that_does_not_end_spoils_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver("nvmlShutdown").install(monkeypatch)
    assert len(read_cards()[0]) == 2


def test_a_driver_without_cards_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(cards=0).install(monkeypatch)
    assert read_cards() == ((), "")


def test_on_this_machine_it_answers_without_failing() -> None:
    cards, _ = read_cards({1})
    assert all(card.name for card in cards)


def test_cards_have_names_of_their_own_in_the_drivers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver().install(monkeypatch)
    assert card_ids() == ("GPU-0", "GPU-1")
    Driver("nvmlDeviceGetUUID").install(monkeypatch)
    assert card_ids() == ()


@pytest.mark.parametrize(
    "ask",
    [lambda: read_cards(limit_s=0.05), lambda: card_ids(limit_s=0.05)],
    ids=["read_cards", "card_ids"],
)
def test_a_driver_that_hangs_is_not_waited_for_and_not_asked_by_a_second_thread(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object]
) -> None:
    may_end, threads = threading.Event(), list[threading.Thread]()

    class Hanging(Driver):
        def nvmlInit(self) -> None:  # noqa: N802
            threads.append(threading.current_thread())
            may_end.wait(60)
            super().nvmlInit()

    driver = Hanging()
    driver.install(monkeypatch)
    for _ in range(3):
        assert ask() in (((), "NVIDIA's driver hangs"), ())
    assert [thread.daemon for thread in threads] == [True], "the end of the process waits for the others"
    may_end.set()
    threads[0].join(20)
    assert len(read_cards()[0]) == 2
    assert driver.sessions == 0


def test_two_who_ask_at_the_same_time_have_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Driver):
        def nvmlInit(self) -> None:  # noqa: N802
            assert self.sessions == 0, "the library knows one session of ours"
            super().nvmlInit()
            time.sleep(0.01)

    Slow().install(monkeypatch)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(read_cards()[0]))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [2] * 5
