"""The pilot: which lines, what is bad about an answer, and how near the estimate comes."""

from array import array
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.model import Answer, Source, Usage
from batchd.core.pilot import (
    ANSWER_TOKENS,
    BAD_SHARE_MAX,
    LABEL_TOKENS_MAX,
    PILOT,
    Flaw,
    Sample,
    conclude,
    findings_of,
    flaw_of,
    mask_of,
    pilot_lines,
    pilot_of,
)
from batchd.core.record import Group, Plan
from batchd.core.request import Endpoint, Message, Request
from batchd.core.schema import Breach, Reason

JSON = {"type": "json_object"}


def plan_of(*sizes: int, models: str = "") -> Plan:
    """Groups of these sizes; `models` has a letter for each group. The order is not that of the file."""
    groups, start = [], 0
    for number, size in enumerate(sizes):
        model = models[number] if models else "m"
        groups.append(Group(model, "/v1/chat/completions", start, size, 100, 512))
        start += size
    order = array("I", reversed(range(start)))
    return Plan(start, tuple(groups), order)


def groups_of(plan: Plan, lines: list[int]) -> Counter[int]:
    at = {index: position for position, index in enumerate(plan.order)}
    return Counter(
        next(number for number, group in enumerate(plan.groups) if at[line] < group.start + group.count)
        for line in lines
    )


def test_the_lines_are_spread_over_one_group_and_over_many() -> None:
    one = pilot_lines(plan_of(170_000), bytearray(170_000), 20)
    assert len(one) == 20
    assert max(one) - min(one) > 100_000
    many = groups_of(plan_of(*[500] * 10), pilot_lines(plan_of(*[500] * 10), bytearray(5_000), 20))
    assert many == Counter(dict.fromkeys(range(10), 2)), "a pair of each"


def test_where_each_line_needs_those_before_it_the_first_ones_are_chosen() -> None:
    plan = plan_of(500, 500, 3, models="aab")
    lines = pilot_lines(plan, bytearray(1_003), 20, is_in_order=True)
    assert lines == [*plan.order[:20], plan.order[1_000]], "and one of the other model"


def test_a_model_with_few_lines_has_one_of_them() -> None:
    plan = plan_of(5_000, 1, 3, models="abc")
    assert set(groups_of(plan, pilot_lines(plan, bytearray(5_004), 20))) == {0, 1, 2}


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_only_lines_without_an_outcome_are_chosen_each_once_and_no_more_than_were_asked_for(
    sizes: list[int], count: int, chance: Random
) -> None:
    models = "".join(chance.choice("ab") for _ in sizes)
    plan = plan_of(*sizes, models=models)
    finished = bytearray(chance.choice([0, 0, 1]) for _ in range(plan.line_count))
    lines = pilot_lines(plan, finished, count)
    assert len(set(lines)) == len(lines)
    assert not any(finished[line] for line in lines)
    left = finished.count(0)
    assert min(left, count) <= len(lines) <= min(left, count + 1), "one more for a model that was missed"


def test_the_mask_shows_the_others_as_finished() -> None:
    assert mask_of([1, 3], 5) == bytearray([1, 0, 1, 0, 1])


def request(bound: int = 200, endpoint: Endpoint = Endpoint.CHAT, **parameters: object) -> Request:
    return Request("r", endpoint, "m", (Message("user", "hi"),), ("hi",), parameters, bound)


def answer(text: str, finish: str = "stop") -> Answer:
    return Answer(text, None, finish, Usage(10, 20, 5, Source.ENGINE, 0.1, 1.0))


@pytest.mark.parametrize(
    ("asked", "heard", "flaw"),
    [
        (request(), answer("fine"), None),
        (request(), answer(""), Flaw.EMPTY),
        (request(), answer(" \n\t"), Flaw.EMPTY),
        (request(), answer("", "length"), Flaw.EMPTY),
        (request(), answer("it goes on and", "length"), Flaw.CUT),
        (request(LABEL_TOKENS_MAX), answer("7", "length"), None),
        (request(LABEL_TOKENS_MAX + 1), answer("7", "length"), Flaw.CUT),
        (replace(request(), parameters={"response_format": JSON}), answer('{"a": 1}'), None),
        (
            replace(request(), parameters={"response_format": JSON}),
            replace(answer("Sure! {"), breach=Breach(Reason.NOT_JSON, "it is no JSON")),
            Flaw.INVALID,
        ),
        (request(0, Endpoint.EMBEDDINGS), answer(""), None),
    ],
)
def test_what_is_bad_about_an_answer(asked: Request, heard: Answer, flaw: Flaw | None) -> None:
    assert flaw_of(asked, heard) == flaw


def sample(
    flaw: Flaw | None = None, tokens: int = 50, prefill_s: float = 0.2, token_s: float = 0.02
) -> Sample:
    return Sample(flaw, tokens, prefill_s + tokens * token_s + 0.01, prefill_s, tokens * token_s)


@pytest.mark.parametrize(
    ("flawed", "failed", "is_bad"),
    [(0, 0, False), (4, 0, False), (5, 0, True), (0, 4, False), (3, 2, True), (20, 0, True)],
)
def test_more_than_a_fifth_is_bad(flawed: int, failed: int, is_bad: bool) -> None:
    samples = [sample(Flaw.EMPTY)] * flawed + [sample()] * (20 - flawed - failed)
    found = conclude(samples, failed, 5_000, 1, 4)
    assert (found.answers, found.bad, found.is_bad) == (20, flawed + failed, is_bad)
    assert BAD_SHARE_MAX == 0.2


def test_the_words_name_what_was_bad_and_how_long_it_takes() -> None:
    samples = [sample(Flaw.EMPTY)] * 5 + [sample(Flaw.CUT)] * 2 + [sample()] * 13
    words = conclude(samples, 0, 170_000, 1, 4).words()
    assert words.startswith("pilot of 20: 7 bad (5 empty, 2 cut at their bound); ")
    assert "whole batch 14 h" in words
    assert "20 tokens 7 h" in words
    assert "100 tokens" in words


def test_a_pilot_in_which_nothing_was_answered_estimates_nothing() -> None:
    found = conclude([], 20, 5_000, 1, 4)
    assert found.is_bad
    assert found.estimate is None
    assert found.words() == "pilot of 20: 20 bad (20 failed)"


def test_an_engine_that_tells_no_durations_still_gives_an_estimate_from_the_latency() -> None:
    found = conclude([Sample(None, 30, 2.0, None, None)] * 20, 0, 4_000, 1, 4)
    assert found.estimate is not None
    assert found.estimate.expected_s == pytest.approx(2_000)
    assert found.estimate.by_tokens == {}


def simulated(chance: Random, lines: int, groups: int, slots: int, mean_tokens: int) -> tuple[float, float]:
    """A batch whose costs are known: (the truth, and whether the pilot's range holds it)."""
    prefix_s, user_s, token_s, between_s = 8.0, 0.2, 0.02, 0.01

    def tokens() -> int:
        return max(1, round(chance.gauss(mean_tokens, mean_tokens / 3)))

    places = [number // 2 % groups for number in range(20)]
    seen: set[int] = set()
    samples = []
    for group in places:
        count, cold = tokens(), 0.0 if group in seen else prefix_s
        seen.add(group)
        samples.append(sample(None, count, user_s + cold, token_s))
    work_s = sum(user_s + between_s + tokens() * token_s for _ in range(lines)) + groups * prefix_s
    told = conclude(samples, 0, lines, groups, slots).estimate
    assert told is not None
    return work_s / slots, float(told.low_s <= work_s / slots <= told.high_s)


def test_the_beginning_of_each_group_is_paid_for_once() -> None:
    pairs = [sample(prefill_s=8.2), sample(prefill_s=0.2)] * 10
    told = [conclude(pairs, 0, 200, groups, 4).estimate for groups in (1, 101)]
    assert told[0] is not None
    assert told[1] is not None
    assert told[1].expected_s - told[0].expected_s == pytest.approx(100 * 8.0 / 4)


@pytest.mark.parametrize("groups", [1, 8, 100])
def test_the_range_holds_the_truth_for_batches_whose_costs_are_known(groups: int) -> None:
    chance = Random(groups)
    held = [simulated(chance, 2_000, groups, 4, mean)[1] for mean in (5, 20, 50, 200) for _ in range(10)]
    assert sum(held) >= 38


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(1, 100_000), st.integers(1, 64))
def test_the_range_holds_its_middle_and_longer_answers_take_longer(
    tokens: list[int], lines: int, slots: int
) -> None:
    told = conclude([sample(None, count) for count in tokens], 0, lines, 1, slots).estimate
    assert told is not None
    assert told.low_s <= told.expected_s <= told.high_s
    times = [told.by_tokens[count] for count in ANSWER_TOKENS]
    assert times == sorted(times)


def test_findings_are_kept_and_read_back() -> None:
    found = conclude([sample(Flaw.CUT), *[sample()] * 9], 1, 5_000, 3, 4)
    kept = findings_of({PILOT: found.to_meta()})
    assert kept is not None
    assert kept.words() == found.words()
    assert kept.is_bad == found.is_bad
    assert findings_of({}) is None
    nothing = conclude([], 20, 5_000, 1, 4)
    assert findings_of({PILOT: nothing.to_meta()}) == nothing


def test_the_results_have_the_findings_as_they_were_kept() -> None:
    found = conclude([sample(Flaw.EMPTY)] * 20, 0, 5_000, 1, 4)
    told = pilot_of({PILOT: found.to_meta()})
    assert isinstance(told, dict)
    assert told["flaws"] == {"empty": 20}
    assert set(told["estimate"]["by_tokens"]) == {"20", "50", "100"}
    assert pilot_of({}) is None
