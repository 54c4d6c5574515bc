"""The pictures of a comparison are well formed, and what was not measured is called so."""

import xml.etree.ElementTree as ElementTree

import pytest

from batchd.core.charts import draw_cases, draw_cost
from batchd.core.comparison import CASES, Comparison, Ran


def comparison(sizes: tuple[int, ...], rounds: int, evaluated: int | None = 900) -> Comparison:
    return Comparison(
        [
            Ran(
                case,
                lines,
                turn,
                lines / (turn + 1),
                lines,
                1_000,
                None if evaluated is None else evaluated * lines,
                None,
                "engine",
                None,
                None,
            )
            for lines in sizes
            for turn in range(rounds)
            for case in CASES
        ]
    )


def texts(picture: str) -> str:
    return " ".join(ElementTree.fromstring(picture).itertext())


def test_every_case_has_its_bars_and_their_spread() -> None:
    shown = texts(draw_cases(comparison((10, 20), 3), "<m> on e"))
    assert "<m> on e" in shown
    assert "The same 20 requests" in shown
    for case in CASES:
        assert shown.count(f"{case}: ") == 2
    assert "medians of 3 rounds" in shown


@pytest.mark.parametrize("evaluated", [0, 1, 10**7])
@pytest.mark.parametrize("sizes", [(10,), (10, 100, 10_000)])
def test_the_cost_has_every_size_and_calls_the_rest_a_projection(
    sizes: tuple[int, ...], evaluated: int
) -> None:
    picture = draw_cost(comparison(sizes, 1, evaluated), "m")
    assert "a projection to 170,000 lines, not measured" in texts(picture)
    assert "nan" not in picture.lower()
    assert picture.count("stroke-dasharray") >= len(CASES)
    assert "projected: " in texts(picture)


def test_tokens_that_the_server_does_not_tell_are_no_bars_and_no_curve() -> None:
    untold = comparison((10, 20), 1, evaluated=None)
    for picture in (draw_cases(untold, "m"), draw_cost(untold, "m")):
        assert texts(picture).count("not told by this server") == 1
        assert "tokens: " not in texts(picture)


def test_one_run_is_not_called_a_median() -> None:
    assert "one run each" in texts(draw_cases(comparison((10,), 1), "m"))
