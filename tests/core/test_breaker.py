"""The breaker: an epidemic pauses a batch, single failures do not, and nothing that fails is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.breaker import ALIKE_MIN, NOT_COUNTED, TRIPS, WINDOW, Breaker, Trip, refusal, trips_of
from batchd.core.fault import Category, ModelFault

NONSENSE = ModelFault(Category.SERVER, "The answer ended before it was done.", is_temporary=True)
GONE = ModelFault(Category.MODEL, "The model 'm' does not exist here", False, code="model_not_found")
RUNAWAY = ModelFault(Category.RUNAWAY, "What there was: 'secret'", is_temporary=False)
REFUSED = ModelFault(Category.VALIDATION, "no such format", is_temporary=False)

INVALID = ModelFault(Category.INVALID_ANSWER, "The answer breaks its schema", is_temporary=False)

FAULTS = {"n": NONSENSE, "g": GONE, "r": RUNAWAY, "v": REFUSED, "i": INVALID}


class Played:
    """Outcomes in their order: `.` is an answer, a letter a failure; what became of each failure."""

    def __init__(self, outcomes: str, trips: dict[str, int] | None = None) -> None:
        self.breaker: Breaker[int] = Breaker(trips or {})
        self.released: list[int] = []
        self.trip: Trip | None = None
        self.tripped_at = len(outcomes)
        for number, outcome in enumerate(outcomes):
            if outcome == ".":
                self.released += self.breaker.succeeded()
                continue
            released, trip = self.breaker.failed(FAULTS[outcome], number)
            self.released += released
            if trip is not None:
                self.trip, self.tripped_at = trip, number
                break
        self.held = self.breaker.let_go()


@pytest.mark.parametrize("kind", ["n", "g", "r"])
def test_a_batch_in_which_all_fail_alike_pauses_after_one_window(kind: str) -> None:
    played = Played(kind * 170_000)
    assert played.tripped_at == WINDOW - 1
    assert played.held == list(range(WINDOW))
    assert played.released == []


def test_the_trouble_may_begin_in_the_middle_of_a_good_batch() -> None:
    played = Played("." * 5_000 + "n" * 1_000)
    assert played.tripped_at == 5_000 + ALIKE_MIN - 1
    assert played.held == list(range(5_000, 5_000 + ALIKE_MIN))


@pytest.mark.parametrize(
    "outcomes",
    [
        "n" * (WINDOW - 1),  # too few to say
        "nn." * 500,  # two of three
        "ng" * 500,  # not alike
        ("n" * (ALIKE_MIN - 1) + "...") * 50,
        "v" * 5_000,  # the submitter's own
        "i" * 5_000,  # it answered, if not what was asked for
    ],
)
def test_what_is_no_epidemic_goes_on_and_every_failure_is_let_go_once(outcomes: str) -> None:
    played = Played(outcomes)
    assert played.trip is None
    failed = [number for number, outcome in enumerate(outcomes) if outcome != "."]
    assert sorted(played.released + played.held) == failed


@given(st.text(alphabet=".ngrvi", max_size=200))
def test_no_failure_is_lost_doubled_or_let_go_before_its_time(outcomes: str) -> None:
    played = Played(outcomes)
    seen = outcomes[: played.tripped_at + 1]
    failed = [number for number, outcome in enumerate(seen) if outcome != "."]
    assert sorted(played.released + played.held) == failed
    counted = [number for number in played.released if outcomes[number] != "v"]
    assert counted == sorted(counted)
    assert len(played.held) <= WINDOW
    if played.trip is not None:
        assert sum(seen[number] == seen[-1] for number in played.held) >= ALIKE_MIN


@pytest.mark.parametrize("category", sorted(NOT_COUNTED))
def test_what_the_submitter_or_somebody_else_decides_never_counts(category: Category) -> None:
    breaker: Breaker[int] = Breaker({})
    fault = ModelFault(category, "no", is_temporary=False)
    assert all(breaker.failed(fault, number) == ([number], None) for number in range(100))


def test_failures_of_one_category_with_other_codes_are_not_alike() -> None:
    breaker: Breaker[int] = Breaker({})
    for number in range(200):
        fault = ModelFault(Category.MODEL, "no", is_temporary=False, code=f"code_{number % 2}")
        assert breaker.failed(fault, number)[1] is None


def test_the_reason_has_the_numbers_and_the_servers_words_but_never_an_answer() -> None:
    trip = Played("n" * 30).trip
    assert trip is not None
    assert trip.reason == (
        f"{WINDOW} of the last {WINDOW} requests failed alike: server (The answer ended before it was done)"
    )
    runaway = Played("r" * 30).trip
    assert runaway is not None
    assert "secret" not in runaway.reason
    gone = Played("g" * 30).trip
    assert gone is not None
    assert "model_not_found" in gone.reason


def test_each_trip_doubles_what_is_borne_so_that_a_batch_that_can_only_fail_comes_to_its_end() -> None:
    left, trips, pauses = 170_000, dict[str, int](), []
    while True:
        played = Played("n" * left, trips)
        if played.trip is None:
            break
        pauses.append(played.tripped_at + 1)
        left -= len(played.released)  # what was held is tried again
        trips = dict(trips_of({TRIPS: played.breaker.to_meta()}))
    assert pauses[:4] == [WINDOW, 2 * WINDOW, 4 * WINDOW, 8 * WINDOW]
    assert len(pauses) <= 14


def test_another_kind_of_trouble_has_its_own_patience() -> None:
    after = dict(trips_of({TRIPS: Played("n" * 30).breaker.to_meta()}))
    assert Played("g" * 100, after).tripped_at == WINDOW - 1
    assert Played("n" * 100, after).tripped_at == 2 * WINDOW - 1


def test_a_batch_that_never_tripped_has_no_trips() -> None:
    assert trips_of({}) == {}


def test_a_model_that_is_not_there_is_told_in_one_short_sentence() -> None:
    assert refusal(GONE) == "The model 'm' does not exist here"
    assert len(refusal(ModelFault(Category.MODEL, "no. " * 100, is_temporary=False))) <= 120


def test_its_face_has_the_numbers() -> None:
    breaker: Breaker[int] = Breaker({})
    breaker.succeeded()
    breaker.failed(NONSENSE, 1)
    assert repr(breaker) == "<Breaker: 1 of the last 2 failed>"


def test_an_answer_that_is_no_good_waits_as_other_failures_do_so_that_a_bad_pilot_keeps_it() -> None:
    played = Played("i" * WINDOW)
    assert played.released == []
    assert played.held == list(range(WINDOW))
