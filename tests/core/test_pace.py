from batchd.core.model import Source, Usage
from batchd.core.pace import KNOWN_MIN, LIMIT_S_MAX, LIMIT_S_MIN, PATIENCE, Pace

UNKNOWN_S = 300.0


def usage(
    prompt: int = 100, completion: int = 100, cached: int | None = 0, seconds: float | None = 1.0
) -> Usage:
    source = Source.UNKNOWN if cached is None else Source.ENGINE
    return Usage(prompt, completion, cached, source, seconds, seconds)


def known(*usages: Usage) -> Pace:
    pace = Pace()
    for each in usages:
        pace.note(each)
    return pace


def test_until_the_speeds_are_known_the_operators_limit_holds() -> None:
    pace = known(*[usage()] * (KNOWN_MIN - 1))
    assert pace.limit_s(10_000, 10_000, UNKNOWN_S) == UNKNOWN_S
    pace.note(usage())
    assert pace.limit_s(10_000, 10_000, UNKNOWN_S) == PATIENCE * 200.0


def test_the_slowest_of_late_counts() -> None:
    pace = known(usage(seconds=10.0), *[usage()] * KNOWN_MIN)
    assert pace.limit_s(1_000, 0, UNKNOWN_S) == PATIENCE * 100.0


def test_no_limit_is_shorter_than_half_a_minute() -> None:
    assert known(*[usage()] * KNOWN_MIN).limit_s(1, 1, UNKNOWN_S) == LIMIT_S_MIN


def test_prompts_that_may_have_been_cached_tell_no_speed() -> None:
    assert known(*[usage(cached=None)] * KNOWN_MIN).limit_s(1, 1, UNKNOWN_S) == UNKNOWN_S


def test_a_few_tokens_or_no_duration_tell_no_speed() -> None:
    pace = known(*[usage(prompt=3, completion=3)] * KNOWN_MIN, *[usage(seconds=None)] * KNOWN_MIN)
    assert repr(pace) == "Pace(0 prefills, 0 decodes)"


def test_an_embedding_needs_no_decode_speed() -> None:
    pace = known(*[usage(completion=0)] * KNOWN_MIN)
    assert pace.limit_s(1, 0, UNKNOWN_S) == LIMIT_S_MIN
    assert pace.limit_s(1, 5, UNKNOWN_S) == UNKNOWN_S


def test_no_limit_is_longer_than_a_day() -> None:
    pace = known(*[usage(seconds=1e300)] * KNOWN_MIN)
    assert pace.limit_s(10_000, 10_000, UNKNOWN_S) == LIMIT_S_MAX
