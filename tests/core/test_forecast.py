"""How long a batch will take, at rates of another day."""

from dataclasses import replace

import pytest

from batchd.core.calibration import Identity, Profile, Row
from batchd.core.forecast import Rates, Work, forecast, rates_of_profile, rates_of_result

RATES = Rates("m", 100.0, 10.0, 2, "of its calibration")

METRICS = {
    "batch_id": "batch_1",
    "provenance": {"models": [{"name": "m", "slots": 4}]},
    "rates": {"prefill_tokens_per_s": {"value": 90.0}, "decode_tokens_per_s": {"value": 9.0}},
}

PROFILE = Profile(
    Identity("m", "d", "llamacpp", "1", "child"),
    0.0,
    (Row(1, 512, 512, 1.0, 8.0), Row(2, 512, 512, 2.0, 12.0)),
    (),
    None,
    "kernel",
    2,
    512,
    read_tokens_per_s=70.0,
)


def test_reading_and_writing_are_shared_by_the_slots() -> None:
    told = forecast([Work(RATES, 1_000, 20_000.0)])
    assert [one.answer_tokens for one in told] == [20, 50, 100]
    # 17,000 of 20,000 tokens at 100/s and 20,000 at 10/s, by two slots.
    assert told[0].expected_s == pytest.approx((170 + 2_000) / 2)
    for one in told:
        assert one.low_s < one.expected_s < one.high_s
    assert told[1].words().startswith("50 tokens: 43 min 5 s (")


def test_models_have_their_turns_one_after_the_other() -> None:
    one = forecast([Work(RATES, 10, 100.0)])
    two = forecast([Work(RATES, 10, 100.0), Work(replace(RATES, slots=1), 10, 100.0)])
    assert two[0].expected_s == pytest.approx(3 * one[0].expected_s)


def test_rates_come_from_a_result_of_one_model() -> None:
    assert list(rates_of_result(METRICS)) == [Rates("m", 90.0, 9.0, 4, "of the earlier batch batch_1")]


@pytest.mark.parametrize(
    "strange",
    [
        None,
        [],
        {"provenance": {"models": []}, "rates": {}},
        {**METRICS, "provenance": {"models": [{"name": "m", "slots": 4}, {"name": "n", "slots": 4}]}},
        {
            **METRICS,
            "rates": {"prefill_tokens_per_s": {"value": None}, "decode_tokens_per_s": {"value": 9.0}},
        },
        {**METRICS, "provenance": {"models": [{"name": "m", "slots": 0}]}},
    ],
)
def test_a_result_that_does_not_tell_gives_none(strange: object) -> None:
    assert list(rates_of_result(strange)) == []


def test_rates_come_from_the_chosen_row_of_a_calibration() -> None:
    assert list(rates_of_profile(PROFILE)) == [Rates("m", 70.0, 6.0, 2, "of its calibration")]
    assert list(rates_of_profile(replace(PROFILE, read_tokens_per_s=0.0))) == []
    assert list(rates_of_profile(replace(PROFILE, slots=8))) == []
