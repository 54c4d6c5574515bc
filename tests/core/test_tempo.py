from batchd.core.course import Cohort
from batchd.core.model import Source, Usage
from batchd.core.tempo import QUIET_S, Tempo

CHAT = Usage(10, 4, 0, Source.ENGINE, 1.0, 1.0)
EMBEDDING = Usage(10, 0, 0, Source.ENGINE, 1.0, None)


def begun(slots: int = 2) -> Tempo:
    tempo = Tempo()
    tempo.begin(slots, 100.0)
    return tempo


def test_a_cohort_is_as_many_answers_as_there_are_slots() -> None:
    tempo = begun()
    assert tempo.answered(CHAT, 101.0) is None
    assert tempo.answered(CHAT, 102.0) == Cohort(2, 8, 2.0, True, 102.0)
    assert repr(tempo) == "Tempo(0 of 2 answers, 0 tokens)"


def test_a_cohort_in_which_a_slot_was_idle_is_not_full_and_the_next_one_is() -> None:
    tempo = begun(1)
    tempo.idle()
    idle, full = (tempo.answered(EMBEDDING, moment) for moment in (101.0, 103.0))
    assert (idle, full) == (Cohort(1, 10, 1.0, False, 101.0), Cohort(1, 10, 2.0, True, 103.0))


def test_a_server_is_quiet_until_its_first_answer_and_long_after_its_last() -> None:
    tempo = begun()
    assert tempo.is_quiet(100.0, 300.0)
    tempo.answered(CHAT, 101.0)
    assert not tempo.is_quiet(101.0 + QUIET_S - 1, 300.0)
    assert tempo.is_quiet(101.0 + QUIET_S, 300.0)


def test_where_the_limit_is_short_silence_is_as_well() -> None:
    tempo = begun()
    tempo.answered(CHAT, 101.0)
    assert not tempo.is_quiet(101.9, 2.0)
    assert tempo.is_quiet(102.0, 2.0)
