"""Peaks: the highest of several readings, kept over a restart; energy where somebody counts it."""

import pytest

from batchd.core.peaks import Peaks
from batchd.core.readings import Card, Reading


def card(used: int | None, energy_j: float | None = None) -> Card:
    return Card("a card", "580", 1_000, used, None, None, energy_j)


def test_peaks_are_the_highest_and_outlive_the_daemon() -> None:
    first = Reading((card(100), card(900)), server_bytes=50, stalled_share=0.5)
    second = Reading((card(300),), server_bytes=40)
    peaks = Peaks().with_reading(first, None)
    peaks = Peaks.from_meta(peaks.to_meta()).with_reading(second, first)
    assert peaks == Peaks((300, 900), 50, 0.5, None)
    assert peaks.as_metrics() == {
        "gpu_peak_mib": [300, 900],
        "server_resident_peak_bytes": 50,
        "stalled_share_peak": 0.5,
        "energy_wh": None,
    }


def test_energy_is_summed_over_the_cards_that_tell_it() -> None:
    readings = [
        Reading((card(1, energy_j=1_000.0), card(1))),
        Reading((card(1, energy_j=4_600.0), card(1))),
        Reading((card(1, energy_j=100.0), card(1))),  # the driver was loaded anew: it counts from 0 again
        Reading((card(1, energy_j=3_700.0), card(1))),
        Reading(),
    ]
    peaks, before = Peaks.from_meta(None), None
    for reading in readings:
        peaks, before = peaks.with_reading(reading, before), reading
    assert peaks.energy_j == pytest.approx(7_200.0)
    assert peaks.as_metrics()["energy_wh"] == 2.0


def test_without_a_card_nothing_is_claimed() -> None:
    assert set(Peaks().with_reading(Reading(), None).as_metrics().values()) == {None}
