"""Readings of the GPU, with a driver, with half of one, and with none.

DIAGNOSTICS
    None: tests.
"""

from types import SimpleNamespace

import pynvml
import pytest

from batchd.edges.gpu import GpuReading, read_gpus


class Driver:
    """Stands for NVIDIA's library, two cards wide; `broken` names the call that fails."""

    def __init__(self, broken: str = "", cards: int = 2) -> None:
        self.broken = broken
        self.cards = cards
        self.sessions = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in dir(self):
            if name.startswith("nvml"):
                monkeypatch.setattr(pynvml, name, self._call(name))

    def _call(self, name: str) -> object:
        def call(*args: object) -> object:
            if name == self.broken:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
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

    def nvmlDeviceGetName(self, card: int) -> str:  # noqa: N802
        return f"Card {card}"

    def nvmlDeviceGetMemoryInfo(self, card: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=16 * 2**30)


def test_every_card_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    driver.install(monkeypatch)
    assert read_gpus() == [
        GpuReading("Card 0", "580.10", 16_384),
        GpuReading("Card 1", "580.10", 16_384),
    ]
    assert driver.sessions == 0


@pytest.mark.parametrize(
    "broken",
    ["nvmlInit", "nvmlSystemGetDriverVersion", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"],
)
def test_a_driver_that_fails_is_no_reading(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    driver = Driver(broken)
    driver.install(monkeypatch)
    assert read_gpus() is None
    assert driver.sessions == 0


def test_a_session_that_does_not_end_spoils_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver("nvmlShutdown").install(monkeypatch)
    assert read_gpus() is not None


def test_a_driver_without_cards_is_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    Driver(cards=0).install(monkeypatch)
    assert read_gpus() is None


def test_on_this_machine_it_answers_without_failing() -> None:
    readings = read_gpus()
    assert readings is None or all(reading.total_mb > 0 for reading in readings)
