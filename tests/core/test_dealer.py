"""One deal, from what was true at a moment."""

from array import array

from batchd.core.deal import Queues, ground_of
from batchd.core.dealer import Dealer


def dealer_of(queues: Queues, loose: list[tuple[int, int, int]], used: list[int]) -> Dealer:
    ground = ground_of(array("I", [100] * 8), array("I", [0] * 8), 1_000.0)
    slots = len(queues)
    return Dealer(ground, queues, loose, used, [-1] * slots, [0] * slots)


def test_all_of_it_is_dealt_to_the_slots_that_take_part() -> None:
    dealt = dealer_of([[], [], []], [(1, 4, 8), (0, 0, 4)], [0, 2]).dealt(2, 8, 5)
    assert (dealt.slot, dealt.left, dealt.turn, dealt.answer_tokens) == (2, 8, 5, 1_000.0)
    assert dealt.queues is not None
    assert sorted(map(len, dealt.queues)) == [0, 1, 1]
    assert dealt.queues[1] == []


def test_a_deal_that_is_as_good_stays() -> None:
    assert dealer_of([[(0, 0, 4)], [(1, 4, 8)]], [], [0, 1]).dealt(0, 8, 1).queues is None


def test_a_slot_that_has_nothing_left_gets_some_of_the_others_and_nothing_given_is_changed() -> None:
    queues: Queues = [[], [(0, 0, 4), (1, 4, 8)]]
    dealt = dealer_of(queues, [], [0, 1]).improved(0, 8, 1)
    assert dealt.queues is not None
    assert sum(end - start for queue in dealt.queues for _, start, end in queue) == 8
    assert dealt.queues[0]
    assert queues == [[], [(0, 0, 4), (1, 4, 8)]]
    assert dealt.answer_tokens is None
