"""Steering: what is told of deaths, speeds and decisions."""

from dataclasses import replace

from batchd.core.course import Cohort
from batchd.core.limits import RENEWED, Change, Limits
from batchd.core.model import Load, Loaded
from batchd.daemon.steering import DOUBTED_SHARE, Steering
from tests.fakes.fake_clock import FakeClock
from tests.fakes.scripted_model import crash, hung, loaded, out_of_memory

LOAD = Load("m", 4_096, 4)


class Bridge:
    """A steering with its clock, after a first load."""

    def __init__(self, slots: int = 4, has_gpu: bool = False) -> None:
        self.clock = FakeClock()
        self.changes: list[Change] = []
        self.steering = Steering(Limits(slots, True, has_card=has_gpu), self.clock, self.changes.append)
        self.steering.fitted(LOAD, 1.0)

    def die(self) -> None:
        self.steering.died(crash(), self.steering.allowed(LOAD))
        self.steering.bury(self.steering.allowed(LOAD), 1_024)

    @property
    def names(self) -> list[str]:
        return [change.name for change in self.changes]


def cohort(per_s: float, is_full: bool = True) -> Cohort:
    return Cohort(4, int(per_s * 10), 10.0, is_full, 0.0)


def beside(gpu: int | None) -> Loaded:
    plain = loaded(LOAD)
    return Loaded(
        plain.model, "", None, plain.window_tokens, 4, None if gpu is None else 10, gpu, None, plain.load_s
    )


def test_a_decision_is_logged_with_its_evidence_and_told(said: list[str]) -> None:
    bridge = Bridge()
    bridge.die()
    assert bridge.names == ["slots_halved"]
    assert any(
        "slots_halved: 4 -> 2, because the server died under its chunk (unexpected EOF)" in line
        for line in said
    )
    assert repr(bridge.steering).endswith("1 deaths)")


def test_a_death_is_buried_once() -> None:
    bridge = Bridge()
    bridge.die()
    bridge.steering.bury(LOAD, 1_024)
    assert bridge.names == ["slots_halved"]


def test_silence_and_memory_are_told_apart() -> None:
    bridge = Bridge()
    bridge.steering.died(hung(), LOAD)
    bridge.steering.bury(LOAD, 1_024)
    one = Load("m", 4_096, 1)
    bridge.steering.died(out_of_memory(), one)
    bridge.steering.bury(one, 1_024)
    assert bridge.names == ["slots_reduced", "window_reduced"]
    assert bridge.steering.window_tokens_max == 2_048
    bridge.steering.begin_batch()
    assert bridge.steering.window_tokens_max is None


def test_too_many_deaths_are_waited_for_and_a_guilty_request_strikes_them_out() -> None:
    bridge = Bridge()
    for _ in range(4):
        bridge.die()
    assert bridge.steering.is_overspent()
    assert bridge.steering.pause_s(1.0) == 10.0
    assert "died 4 times of late; the last time: EOF" in bridge.steering.dying_words("EOF")
    bridge.steering.judged(("poison",), 2)
    assert not bridge.steering.is_overspent()
    assert bridge.names[-1] == "limits_restored"


def test_deaths_that_nobody_is_to_blame_for_stay_in_the_account() -> None:
    bridge = Bridge()
    for _ in range(4):
        bridge.die()
    bridge.steering.judged((), 4)
    assert bridge.steering.is_overspent()


def test_a_load_that_is_renewed_in_good_order_is_not_waited_for() -> None:
    bridge = Bridge(slots=1)
    for _ in range(4):
        for _ in range(3):
            bridge.steering.goes_on(cohort(10.0, is_full=False))
        bridge.die()
        bridge.steering.fitted(LOAD, 1.0)
    assert bridge.steering.is_overspent()
    said = [bridge.steering.goes_on(cohort(10.0, is_full=False)) for _ in range(3)]
    assert said == ["", "", RENEWED]
    assert not bridge.steering.is_overspent()
    bridge.steering.fitted(LOAD, 1.0)
    assert bridge.steering.is_overspent()


def test_a_server_that_answers_between_its_deaths_is_not_left_alone_for_longer_each_time() -> None:
    bridge = Bridge()
    for _ in range(9):
        bridge.steering.goes_on(cohort(10.0, is_full=False))
        bridge.die()
    assert bridge.steering.pause_s(1.0) == 5.0


def test_another_model_is_begun_anew() -> None:
    bridge = Bridge()
    bridge.die()
    other = Load("other", 4_096, 4)
    assert bridge.steering.allowed(other).slots == 2
    bridge.steering.begin(other)
    assert bridge.steering.allowed(other).slots == 4


def test_a_part_beside_the_card_counts_only_where_there_is_a_card() -> None:
    assert not Bridge().steering.shrinks_spill(beside(0), LOAD, 1_024)
    assert Bridge(has_gpu=True).steering.shrinks_spill(beside(0), LOAD, 1_024)
    assert not Bridge(has_gpu=True).steering.shrinks_spill(beside(None), LOAD, 1_024)
    assert not Bridge(has_gpu=True).steering.shrinks_spill(beside(10), LOAD, 1_024)


def test_a_card_that_was_seen_once_is_missed_when_it_is_gone() -> None:
    bridge = Bridge()
    assert not bridge.steering.shrinks_spill(beside(10), LOAD, 1_024)
    assert bridge.steering.shrinks_spill(beside(0), LOAD, 1_024)
    assert bridge.changes[0].evidence == "0.00 of 0.00 GB are on the card"


def test_a_server_far_below_its_own_best_is_doubted() -> None:
    steering = Bridge().steering

    def is_doubtful(per_s: float, is_full: bool = True) -> bool:
        doubts = [steering.is_doubtful(cohort(per_s, is_full)) for _ in range(8)]
        return any(doubts)

    assert not is_doubtful(100.0)
    assert not is_doubtful(100.0 * DOUBTED_SHARE)
    assert not is_doubtful(1.0, is_full=False)
    assert not steering.is_doubtful(cohort(1.0))  # one cohort is no speed
    steering.fitted(LOAD, 1.0)
    assert not is_doubtful(100.0)
    assert is_doubtful(100.0 * DOUBTED_SHARE - 1)
    steering.fitted(LOAD, 1.0)
    assert not is_doubtful(1.0)


def test_a_load_that_is_too_large_shrinks_until_nothing_is_left() -> None:
    steering = Bridge(slots=1).steering
    one = Load("m", 8_192, 1)
    assert steering.is_too_large(out_of_memory(), one, 1_024)
    assert not steering.is_too_large(out_of_memory(), Load("m", 1_024, 1), 1_024)


def test_a_single_byte_beside_the_card_is_a_spill() -> None:
    whole = loaded(LOAD)
    size = 8_100_000_000
    for on_card, is_spilled in ((size, False), (size - 1, True)):
        load = replace(whole, size_bytes=size, gpu_bytes=on_card)
        assert Bridge(has_gpu=True).steering.shrinks_spill(load, LOAD, 1_024) is is_spilled


def test_what_an_earlier_life_met_bounds_the_first_load_of_this_one() -> None:
    before, after = Bridge(slots=16), Bridge(slots=16)
    load = Load("m", 4_096, 16)
    before.steering.begin(load)
    before.steering.fitted(load, 1.0)
    before.steering.died(crash(), load)
    before.steering.bury(load, 1_024)
    kept = before.steering.kept()
    assert kept == {"m": {"slots": 16}}
    after.steering.remember(kept)
    after.steering.begin(load)
    assert after.steering.allowed(load).slots == 12  # four fifths
    assert after.names == ["slots_remembered"]
    after.steering.begin(load)
    assert after.names == ["slots_remembered"], "it is said once"
    assert after.steering.kept() == kept


def test_what_this_life_knows_of_its_model_is_not_forgotten_for_what_was() -> None:
    bridge = Bridge(slots=16)
    load = Load("m", 4_096, 16)
    bridge.steering.begin(load)
    bridge.steering.remember({"m": {"slots": 2}, "other": {"slots": 5}})
    bridge.steering.begin(load)
    assert bridge.steering.allowed(load).slots == 16
    bridge.steering.begin(replace(load, model="other"))
    assert bridge.steering.allowed(load).slots == 4


def test_an_earlier_limit_beyond_what_is_asked_for_now_changes_nothing() -> None:
    bridge = Bridge(slots=4)
    bridge.steering.remember({"other": {"slots": 16}})
    load = Load("other", 4_096, 4)
    bridge.steering.begin(load)
    assert bridge.steering.allowed(load).slots == 4
    assert bridge.names == []
