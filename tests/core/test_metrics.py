"""The metrics: what is claimed, from which source, and what is not claimed."""

from collections.abc import Mapping
from typing import Any

import pytest

from batchd.core.json import dumps, loads
from batchd.core.metrics import (
    GROUPS_LISTED_MAX,
    METRICS_VERSION,
    Run,
    build_metrics,
    saved_share,
    token_scale,
)
from batchd.core.options import Options
from batchd.core.record import Event, Group, Progress, Spent
from batchd.core.summary import Acceptance

RUN = Run(started_at=1_000.0, finished_at=1_060.5, canary_tokens=7, shared_tokens={})
GROUP = Group("m", "/v1/chat/completions", 0, 10, 80, 120)


def accepted(total: int = 10) -> Acceptance:
    return Acceptance(
        "reviews.jsonl",
        total,
        0,
        1,
        2_000,
        900.0,
        "ab" * 32,
        4_096,
        "/v1/chat/completions",
        "m",
        Options(),
        False,
        ("Blank lines: 1; they were skipped.",),
        (),
    )


def progress(completed: int = 10, failed: int = 0, **spent: float) -> Progress:
    cost = Spent(**{"prompt_tokens": 1_000, "completion_tokens": 50, "cached_tokens": 700, **spent})  # type: ignore[arg-type]
    return Progress(completed + failed, completed, failed, cost, {"crash": 2}, 12.3456)


def metrics(
    done: Progress | None = None,
    groups: tuple[Group, ...] = (GROUP,),
    total: int = 10,
    provenance: Mapping[str, object] | None = None,
    run: Run = RUN,
) -> dict[str, Any]:
    """As a reader of the file gets them."""
    events = [Event(0.0, "slots_halved", "4", "2", "out of memory")]
    built = build_metrics(
        f"batch_{1:032x}",
        accepted(total),
        progress() if done is None else done,
        groups,
        run,
        provenance or {"batchd": "0.1.0", "models": [{"slots": 4}], "memory": {"x": 1}},
        {"model": "m"},
        events,
    )
    read = loads(dumps(built))
    assert isinstance(read, dict)
    return read


def test_everything_that_a_reader_is_promised_is_there() -> None:
    read = metrics()
    assert set(read) >= {
        *("version", "batch_id", "provenance", "settings", "tokens", "groups", "lanes", "time", "memory"),
        *("faults", "decisions"),
    }
    assert (read["version"], read["batch_id"]) == (METRICS_VERSION, f"batch_{1:032x}")
    assert read["provenance"]["input"] == {"name": "reviews.jsonl", "sha256": "ab" * 32, "bytes": 4_096}
    assert read["settings"] == {"model": "m", "strategy": "prefix", "strict": False}
    assert read["lanes"] == {"slots": [4]}
    assert read["faults"] == {"crash": 2, "tokens_of_killed_attempts": None}
    assert read["decisions"] == [
        {"at": 0.0, "name": "slots_halved", "old": "4", "new": "2", "cause": "out of memory", "evidence": ""}
    ]
    assert read["time"]["wall_s"] == 60.5
    assert read["time"]["worked_s"] == 12.346


def test_evaluated_is_what_was_not_cached_and_the_canaries() -> None:
    tokens = metrics()["tokens"]
    assert tokens["prompt"] == tokens["naive"] == {"value": 1_000, "source": "engine"}
    assert tokens["cached"] == {"value": 700, "source": "engine"}
    assert tokens["evaluated"] == {"value": 307, "source": "engine"}
    assert tokens["canary"]["value"] == 7


def test_the_ideal_reads_each_shared_beginning_once() -> None:
    # The engine counted half of what was estimated, so the shared 80 are 40 each.
    assert metrics()["tokens"]["ideal"] == {"value": 1_000 - 9 * 40, "source": "estimate"}
    alone = Group("m", "/v1/chat/completions", 0, 10, 0, 120)
    assert metrics(groups=(alone,))["tokens"]["ideal"]["value"] == 1_000


def test_a_measured_beginning_is_better_than_an_estimated_one() -> None:
    measured = Run(1_000.0, 1_060.5, 7, {0: 55})
    read = metrics(run=measured)
    assert read["tokens"]["ideal"]["value"] == 1_000 - 9 * 55
    (group,) = read["groups"]["largest"]
    assert (group["shared_tokens"], group["shared_tokens_estimated"]) == (55, 80)
    assert metrics()["groups"]["largest"][0]["shared_tokens"] is None


def test_the_scale_is_of_the_lines_that_were_answered() -> None:
    assert token_scale(accepted(), progress()) == 0.5
    assert token_scale(accepted(20), progress(completed=10, prompt_tokens=500)) == 0.5
    assert token_scale(accepted(), progress(completed=0, prompt_tokens=0)) == 0.0


def test_the_ideal_of_nothing_is_nothing() -> None:
    none = Progress(0, 0, 0, Spent(), {}, 0.0)
    tokens = metrics(none, groups=(), run=Run(1.0, 2.0, 0, {}))["tokens"]
    assert (tokens["ideal"]["value"], tokens["naive"]["value"]) == (0, 0)


@pytest.mark.parametrize(
    ("spent", "source", "cached"),
    [
        ({}, "engine", 700),
        ({"estimated_answers": 1}, "estimate", 700),
        ({"unknown_answers": 3}, "estimate", 700),
        ({"unknown_answers": 10, "cached_tokens": 0}, "unknown", None),
    ],
)
def test_a_count_of_cached_tokens_is_no_better_than_its_worst_source(
    spent: dict[str, int], source: str, cached: int | None
) -> None:
    tokens = metrics(progress(**spent))["tokens"]
    assert tokens["cached"] == {"value": cached, "source": source}
    assert tokens["evaluated"]["source"] == source


def test_nothing_is_claimed_as_saved_where_nobody_knows() -> None:
    assert saved_share(progress()) == 0.7
    assert saved_share(progress(unknown_answers=10)) is None
    assert saved_share(progress(prompt_tokens=0)) is None
    assert metrics(progress(unknown_answers=10, cached_tokens=0))["tokens"]["evaluated"]["value"] == 1_007


def test_what_was_unusual_is_noted() -> None:
    assert metrics()["notes"] == ["Blank lines: 1; they were skipped."]
    noted = metrics(progress(empty_answers=3), total=50_001)["notes"]
    assert any("50001 lines" in note and "50,000" in note for note in noted)
    assert "3 answers are empty." in noted


def test_the_largest_groups_are_listed_and_all_are_counted() -> None:
    many = tuple(Group("m", "/v1/chat/completions", n, n + 1, 5, 9) for n in range(GROUPS_LISTED_MAX + 5))
    read = metrics(groups=many)["groups"]
    assert (read["count"], len(read["largest"])) == (GROUPS_LISTED_MAX + 5, GROUPS_LISTED_MAX)
    assert read["largest"][0]["requests"] == GROUPS_LISTED_MAX + 5


def test_without_a_model_there_are_no_lanes() -> None:
    assert metrics(provenance={"batchd": "0.1.0"})["lanes"] == {"slots": []}
