"""The metrics: what is claimed, from which source, and what is not claimed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from batchd.core.curve import Curve
from batchd.core.json import dumps, loads
from batchd.core.metrics import (
    GROUPS_LISTED_MAX,
    METRICS_VERSION,
    Run,
    build_metrics,
    token_scale,
)
from batchd.core.options import Options
from batchd.core.overflow import LOWERED
from batchd.core.provenance import Account
from batchd.core.record import LANES_EACH, NO_REUSE, Event, Group, Progress, Share, Shares, Spent
from batchd.core.runaway import Extra
from batchd.core.strategy import Strategy
from batchd.core.summary import Acceptance
from batchd.core.talk import counts_of

SHARES = Shares(
    {0: Share(10, 1_000, 700, 50, 2, 9.0)}, {3: Share(4, 400, 300, 20, 1, 5.0)}, Curve(1_000.0, 2.0, (4, 6))
)
ACCOUNT = Account(canary_tokens=7, loads=2, load_s=12.5)
RUN = Run(1_000.0, 1_060.5, ACCOUNT, {}, SHARES)
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
    acceptance: Acceptance | None = None,
    events: tuple[Event, ...] = (Event(0.0, "slots_halved", "4", "2", "out of memory"),),
) -> dict[str, Any]:
    """As a reader of the file gets them."""
    built = build_metrics(
        f"batch_{1:032x}",
        accepted(total) if acceptance is None else acceptance,
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
    assert read["lanes"]["slots"] == [4]
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
    measured = replace(RUN, shared_tokens={0: 55})
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
    tokens = metrics(none, groups=(), run=replace(RUN, account=Account()))["tokens"]
    assert (tokens["ideal"]["value"], tokens["naive"]["value"]) == (0, 0)


UNKNOWN = {"value": None, "source": "unknown"}


@pytest.mark.parametrize(
    ("done", "extra"),
    [
        (progress(unknown_answers=10, cached_tokens=0, prefill_s=6.0, cold_answers=3), Extra()),
        (progress(estimated_answers=1, prefill_s=6.0, cold_answers=3), Extra()),  # an older batchd's guesses
        (progress(unknown_answers=3, cached_tokens=500, prefill_s=6.0), Extra()),  # too many for a sum
    ],
)
def test_nothing_is_claimed_where_nobody_knows_what_was_cached(done: Progress, extra: Extra) -> None:
    read = metrics(done, run=replace(RUN, extra=extra))
    told = read["tokens"]
    for name in ("cached", "evaluated", "saved_share", "cold_prefills"):
        assert told[name] == UNKNOWN, name
    assert read["time"]["prefill_saved_s"] == read["rates"]["prefill_tokens_per_s"] == UNKNOWN
    for share in (*read["groups"]["largest"], *read["lanes"]["lanes"]):
        assert share["source"] == "unknown"
        assert share["evaluated_tokens"] is share["cold_prefills"] is None
        assert share["prompt_tokens"] > 0
    assert told["prompt"]["value"] == told["naive"]["value"] == 1_000


def test_a_few_answers_without_a_count_make_the_sums_estimates_and_parts_of_them_unknown() -> None:
    read = metrics(progress(completed=1_000, prompt_tokens=100_000, cached_tokens=50_000, unknown_answers=9))
    assert read["tokens"]["cached"] == {"value": 50_000, "source": "estimate"}
    assert read["tokens"]["evaluated"] == {"value": 50_007, "source": "estimate"}
    assert read["tokens"]["saved_share"] == {"value": 0.5, "source": "estimate"}
    assert read["tokens"]["cold_prefills"] == UNKNOWN
    assert read["groups"]["largest"][0]["evaluated_tokens"] is None


def test_what_was_not_taken_may_be_unknown_too() -> None:
    some = replace(RUN, extra=Extra(reseeded=1, prompt_tokens=900, unknown_tokens=900))
    read = metrics(run=some)["tokens"]
    assert (read["evaluated"], read["cold_prefills"]["source"]) == (UNKNOWN, "engine")


def test_what_was_unusual_is_noted() -> None:
    assert metrics()["notes"] == ["Blank lines: 1; they were skipped."]
    noted = metrics(progress(empty_answers=3), total=50_001)["notes"]
    assert any("50001 lines" in note and "50,000" in note for note in noted)
    assert "3 answers are empty." in noted
    lowered = metrics(progress(lowered_answers=4))
    assert lowered["answers"]["lowered_bounds"] == 4
    assert any(note.startswith(f"4 {LOWERED}") for note in lowered["notes"])


def test_the_largest_groups_are_listed_and_all_are_counted() -> None:
    many = tuple(Group("m", "/v1/chat/completions", n, n + 1, 5, 9) for n in range(GROUPS_LISTED_MAX + 5))
    read = metrics(groups=many)["groups"]
    assert (read["count"], len(read["largest"])) == (GROUPS_LISTED_MAX + 5, GROUPS_LISTED_MAX)
    assert read["largest"][0]["requests"] == GROUPS_LISTED_MAX + 5


def test_without_a_model_there_are_no_lanes() -> None:
    assert metrics(provenance={"batchd": "0.1.0"})["lanes"]["slots"] == []


def test_groups_and_lanes_say_what_was_theirs() -> None:
    read = metrics()
    cost = {"prompt_tokens": 1_000, "evaluated_tokens": 300, "completion_tokens": 50, "cold_prefills": 2}
    group = read["groups"]["largest"][0]
    assert group.items() >= {"answers": 10, "busy_s": 9.0, "source": "engine", **cost}.items()
    (lane,) = read["lanes"]["lanes"]
    assert (lane["lane"], lane["answers"], lane["evaluated_tokens"], lane["busy_s"]) == (3, 4, 100, 5.0)
    assert metrics(groups=(GROUP, GROUP))["groups"]["largest"][1]["answers"] == 0


def test_cold_prefills_and_the_saved_share_are_as_sure_as_the_cached_counts() -> None:
    tokens = metrics(progress(cold_answers=3))["tokens"]
    assert tokens["cold_prefills"] == {"value": 3, "source": "engine"}
    assert tokens["saved_share"] == {"value": 0.7, "source": "engine"}


def test_what_was_not_read_is_worth_the_time_that_the_rest_took() -> None:
    time = metrics(progress(prefill_s=6.0))["time"]
    assert time["prefill_saved_s"] == {"value": 14.0, "source": "estimate"}
    assert (time["loads"], time["load_s"]) == (2, 12.5)
    assert metrics()["time"]["prefill_saved_s"]["value"] is None


def test_the_rates_are_split_and_each_has_its_source() -> None:
    rates = metrics(progress(prefill_s=6.0, decode_s=4.0))["rates"]
    assert rates == {
        "prefill_tokens_per_s": {"value": 50.0, "source": "engine"},
        "decode_tokens_per_s": {"value": 12.5, "source": "engine"},
        "total_tokens_per_s": {"value": 85.051, "source": "clock"},
        "requests_per_s": {"value": 0.81, "source": "clock"},
    }
    assert metrics()["rates"]["prefill_tokens_per_s"]["value"] is None


def test_the_pace_is_told_point_by_point() -> None:
    assert metrics()["pace"] == {"started_at": 1_000.0, "step_s": 2.0, "answers": [4, 6], "source": "clock"}


def test_copies_are_told_and_no_rate_or_scale_is_better_for_them() -> None:
    acceptance = replace(accepted(15), copies=5)
    done = progress(completed=15, deduplicated_answers=5)
    assert token_scale(acceptance, done) == token_scale(accepted(), progress()) == 0.5
    read = metrics(done, acceptance=acceptance)
    assert read["answers"]["deduplicated"] == 5
    assert read["rates"]["requests_per_s"]["value"] == 0.81
    assert read["tokens"]["ideal"] == metrics()["tokens"]["ideal"]
    assert "5 requests equal an earlier one and were not computed again." in read["notes"]
    assert (
        metrics(progress(completed=15, deduplicated_answers=5, unknown_answers=10))["tokens"]["cached"][
            "value"
        ]
        is None
    )


def test_the_batchs_own_wish_stands_among_the_settings() -> None:
    asked = replace(accepted(), options=Options(deduplicate=False))
    assert metrics(acceptance=asked)["settings"]["deduplicate"] is False
    assert "deduplicate" not in metrics()["settings"]


def test_a_beginning_that_was_never_reused_is_noted() -> None:
    lost = Event(1.0, NO_REUSE, "2938", "12", "the model server does not keep the beginning of its prompts")
    (_, note) = metrics(events=(lost, lost))["notes"]
    assert "2938" in note
    assert "at most 12 were there. The model server does not keep" in note


def test_conversations_are_said_and_their_ideal_is_unknown() -> None:
    run = replace(RUN, talk=counts_of({}))
    found = metrics(run=run, acceptance=replace(accepted(), strategy=Strategy.CONVERSATION))
    assert found["settings"]["strategy"] == "conversation"
    assert found["settings"]["deduplicate"] is False
    assert found["conversation"]["trims"] == 0
    assert found["tokens"]["ideal"] == {"value": None, "source": "unknown"}
    assert "may differ from the one that its request would have got alone" in found["notes"][-1]
    assert metrics()["conversation"] is None


def test_where_several_servers_answered_each_lane_and_decision_names_its_own() -> None:
    lanes = {0: Share(2), 1: Share(3), LANES_EACH: Share(4)}
    run = replace(RUN, shares=replace(SHARES, lanes=lanes), servers=("http://a:1", "http://b:1"))
    events = (Event(0.0, "slots_halved", "4", "2", "out of memory", "", "http://b:1"),)
    found = metrics(run=run, events=events)
    said = [(lane["server"], lane["lane"], lane["answers"]) for lane in found["lanes"]["lanes"]]
    assert said == [("http://a:1", 0, 2), ("http://a:1", 1, 3), ("http://b:1", 0, 4)]
    assert found["decisions"][0]["server"] == "http://b:1"
    alone = metrics()
    assert "server" not in alone["lanes"]["lanes"][0]
    assert "server" not in alone["decisions"][0]
