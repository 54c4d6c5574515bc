"""What may be said of cached tokens: exact, bounded, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.cached import OFF_MAX, cached_source, computed, saved_share
from batchd.core.model import Source
from batchd.core.record import Progress, Spent


def progress(completed: int = 100, **spent: int) -> Progress:
    cost = Spent(**{"prompt_tokens": 10_000, "cached_tokens": 7_000, **spent})
    return Progress(completed, completed, 0, cost, {}, 1.0)


@pytest.mark.parametrize(
    ("done", "source", "share"),
    [
        (progress(), Source.ENGINE, 0.7),
        (progress(unknown_answers=2), Source.ESTIMATE, 0.7),
        (progress(unknown_answers=3), Source.UNKNOWN, None),
        (progress(unknown_answers=100, cached_tokens=0), Source.UNKNOWN, None),
        (progress(unknown_answers=1, cached_tokens=10), Source.UNKNOWN, None),  # the little may be twice that
        (progress(estimated_answers=1), Source.UNKNOWN, None),  # a guess is in the sum, and cannot come out
        (progress(prompt_tokens=0, cached_tokens=0), Source.ENGINE, None),
    ],
)
def test_a_sum_is_exact_or_bounded_or_not_told(done: Progress, source: Source, share: float | None) -> None:
    assert (cached_source(done), saved_share(done)) == (source, share)


def test_prompts_that_were_read_for_nothing_count_too() -> None:
    assert cached_source(progress(), unknown_tokens=400) is Source.ESTIMATE
    assert cached_source(progress(), unknown_tokens=600) is Source.UNKNOWN


def test_copies_were_not_computed() -> None:
    assert computed(progress(deduplicated_answers=30)) == 70
    assert computed(progress(completed=0, deduplicated_answers=30)) == 0  # copies of errors


@given(
    st.lists(st.tuples(st.integers(500, 1_000), st.floats(0, 1)), min_size=1, max_size=60),
    st.integers(0, 60),
)
def test_what_is_published_as_an_estimate_is_within_a_fifth(
    answers: list[tuple[int, float]], untold: int
) -> None:
    """Prompts are at most twice the average here, as the bound supposes."""
    cached = [int(prompt * share) for prompt, share in answers]
    untold = min(untold, len(answers))
    done = progress(
        len(answers),
        prompt_tokens=sum(prompt for prompt, _ in answers),
        cached_tokens=sum(cached[untold:]),
        unknown_answers=untold,
    )
    if cached_source(done) is Source.UNKNOWN:
        return
    spent = done.spent
    read = spent.prompt_tokens - sum(cached)
    assert abs(spent.prompt_tokens - spent.cached_tokens - read) <= OFF_MAX * read + 1e-6
    assert abs(spent.cached_tokens - sum(cached)) <= OFF_MAX * sum(cached) + 1e-6
