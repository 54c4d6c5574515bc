"""The section's bookkeeping: where a line waits, and what is asked of the model for it."""

from array import array

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Load
from batchd.core.overflow import WINDOW_SLACK_TOKENS
from batchd.core.record import Group
from batchd.core.request import Endpoint, Request
from batchd.core.retry import Decision, Next
from batchd.daemon.section import Queue, Section
from tests.fakes.scripted_model import loaded, overflow

LOAD = Load("m", 1_024, 2)


def section(count: int = 5) -> Section:
    groups = [Group("m", "/v1/chat/completions", 0, count, 0, 100)]
    return Section(LOAD, groups, array("I", range(count)), bytearray(count), {})


def request(bound: int) -> Request:
    return Request("a", Endpoint.CHAT, "m", (), (), {}, bound)


def test_no_smaller_window_helps_than_the_shortest_request_needs() -> None:
    def smallest(*needs: tuple[int, int]) -> int:
        groups = [
            Group("m", "c", n, 1, 0, longest, 0, 0, shortest) for n, (shortest, longest) in enumerate(needs)
        ]
        return Section(Load("m", 8_192, 2), groups, array("I"), bytearray(9), {}).window_tokens_min()

    assert smallest((1_200, 8_000)) == 1_280
    assert smallest((0, 8_000)) == 8_192  # of an older journal, which does not know
    assert smallest((3_000, 4_000), (2_000, 8_000)) == 2_048


def test_a_queue_gives_the_earliest_whose_time_has_come() -> None:
    queue = Queue()
    queue.put(1, 20.0)
    queue.put(2, 10.0)
    assert (queue.take(9.0), queue.left_s(9.0)) == (None, 1.0)
    assert [queue.take(20.0), queue.take(20.0), queue.take(20.0)] == [2, 1, None]
    assert queue.left_s(9.0) == 0.0


def test_a_line_that_waits_is_not_in_the_plan_any_more() -> None:
    mine = section()
    mine.finished[0] = 1
    mine.place(1, Decision(Next.AGAIN, 1, 0, wait_s=3.0), now=100.0)
    mine.place(2, Decision(Next.SUSPECT, 0, 1), now=100.0)
    mine.place(3, Decision(Next.REFIT, 0, 0, window_tokens=2_048), now=100.0)
    assert list(mine.taken()) == [1, 1, 1, 1, 0]
    assert (mine.again.left_s(100.0), list(mine.suspects), mine.too_long) == (3.0, [2], [3])
    assert mine.window_needed == 2_048
    assert list(mine.indices()) == [1, 2, 3, 4]
    assert (mine.pending_count(), mine.is_done()) == (4, False)
    assert repr(mine) == "Section(m, window 1024: 4 pending, 1 again, 1 suspects, 1 too long)"


def test_a_line_given_up_leaves_no_counts_behind() -> None:
    mine = section()
    mine.place(1, Decision(Next.AGAIN, 1, 0), now=0.0)
    mine.place(1, Decision(Next.GIVE_UP, 2, 0), now=0.0)
    assert mine.counts == {}


def test_after_a_restart_suspects_are_tried_first_and_the_others_keep_their_counts() -> None:
    mine = section()
    mine.finished[4] = 1
    mine.adopt_suspects({0: (0, 2), 1: (2, 0), 2: (0, 1), 3: (0, 1), 4: (1, 1)})
    assert mine.counts == {0: (0, 2), 1: (2, 0), 2: (0, 1), 3: (0, 1)}
    assert repr(mine.suspects) == "Suspects([1, 2], 0 noted)"
    assert list(mine.again) == []
    alone = mine.suspects.first(0.0)
    assert alone is not None
    assert mine.is_last_trial(alone)


def test_a_suspect_that_is_called_off_stays_one() -> None:
    mine = section()
    mine.adopt_suspects({2: (0, 1)})
    [company] = [mine.suspects.first(0.0)]
    assert company is not None
    assert company.members == (2,)
    assert not mine.is_last_trial(company)
    mine.suspects.take(company)
    mine.requeue(2, now=5.0)
    mine.requeue(3, now=5.0)
    assert (list(mine.suspects), list(mine.again)) == ([2], [3])


@pytest.mark.parametrize(
    ("said_window", "model_max", "expected"),
    [(512, None, (1_024, 8_192)), (2_048, None, (2_048, 8_192)), (None, 4_096, (1_024, 4_096))],
)
def test_a_trial_knows_the_largest_window_there_was_and_the_largest_allowed(
    said_window: int | None, model_max: int | None, expected: tuple[int, int]
) -> None:
    fault = ModelFault(Category.CONTEXT_LENGTH, "long", False, window_tokens=said_window)
    trial = section().trial(0, request(16), fault, loaded(LOAD, model_max), 1_024, 8_192)
    assert (trial.window_tokens, trial.window_tokens_max) == expected


def test_a_trial_leaves_room_for_the_tokens_that_the_engine_does_not_use() -> None:
    fits = section().trial(0, request(16), overflow(2_000, 1_024), loaded(LOAD), 1_024, 8_192)
    just = section().trial(0, request(16), overflow(2_000, 1_024), loaded(LOAD), 1_024, 2_016)
    over = section().trial(0, request(16), overflow(2_010, 1_024), loaded(LOAD), 1_024, 2_016)
    embed = section().trial(0, request(0), overflow(2_000, 1_024), loaded(LOAD), 1_024, 8_192)
    assert fits.completion_tokens_max == 16 + WINDOW_SLACK_TOKENS
    assert (just.completion_tokens_max, over.completion_tokens_max, embed.completion_tokens_max) == (
        16,
        16,
        0,
    )


def test_a_late_line_waits_for_all_others_too() -> None:
    queue = Queue()
    queue.put(1, 0.0, is_late=True)
    queue.put(2, 5.0)
    assert (len(queue), sorted(queue)) == (2, [1, 2])
    assert queue.left_s(0.0) == 0.0
    assert queue.take(0.0, may_be_late=False) is None
    assert queue.take(5.0) == 2
    assert queue.take(5.0) == 1
    assert len(queue) == 0
