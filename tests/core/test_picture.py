"""The picture: well-formed, complete, and safe with any name."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from batchd.core.calibration import Identity, Profile, Row, Trial, fit_line
from batchd.core.picture import draw

TRIALS = (
    Trial(1, 512, True, 110_000_000),
    Trial(1, 8_192, True, 290_000_000),
    Trial(2, 8_192, True, 470_000_000),
    Trial(4, 8_192, False, None, "failed to allocate <buffer>"),
)
PROFILE = Profile(
    Identity("m<odel>&\x1b", "d", "llamacpp", "1", "child", (), 16),
    0.0,
    (Row(1, 8_192, 8_192, 1.5, 40.0), Row(2, 8_192, 7_168, 2.5, 70.0), Row(4, 0, 0)),
    TRIALS,
    fit_line(TRIALS),
    "kernel",
    2,
    7_168,
)


def texts(picture: str) -> str:
    root = ElementTree.fromstring(picture)
    return " ".join(root.itertext())


def test_every_load_every_rate_and_the_choice_are_in_it() -> None:
    shown = texts(draw(PROFILE))
    for expected in ("m<odel>&\\x1b", "no GPU, 16 GB", "2 slots x 7,168 tokens", "2.50", "8,192", "470 MB"):
        assert expected in shown
    assert "did not fit: failed to allocate <buffer>" in shown
    assert draw(PROFILE).count("<circle") == 3 + 4 + 1
    assert "NaN" not in draw(PROFILE)


@pytest.mark.parametrize(
    "bare",
    [
        replace(PROFILE, trials=(), line=None, rows=()),
        replace(PROFILE, trials=TRIALS[:1], line=None, rows=PROFILE.rows[:1], slots=1),
        replace(PROFILE, trials=TRIALS[3:], line=None),
    ],
)
def test_what_was_not_measured_leaves_its_panel_empty(bare: Profile) -> None:
    assert "requests per second" in texts(draw(bare))
