from contextlib import suppress
from itertools import product

import pytest

from batchd.core.lifecycle import NEXT_PHASES, Phase, Place, State, UnknownStateError, state_of

EVERY_PLACE = [Place(*flags) for flags in product((False, True), repeat=4)]


def test_each_directory_is_one_row_of_the_table_or_refused() -> None:
    known = []
    for place, phase in product(EVERY_PLACE, (None, *Phase)):
        with suppress(UnknownStateError):
            known.append(state_of(place, phase))
    assert sorted(known) == sorted([*State, State.S2A, State.S2A])


def test_an_absent_publish_directory_is_the_proof_of_publication() -> None:
    there = Place(has_original=True, has_copy=True, has_journal=True, has_publish=True)
    gone = Place(has_original=True, has_copy=True, has_journal=True, has_publish=False)
    assert state_of(there, Phase.PUBLISHING) is State.S5
    assert state_of(gone, Phase.PUBLISHING) is State.S6


def test_a_copy_without_an_original_is_a_persons_hand() -> None:
    with pytest.raises(UnknownStateError, match="No batch can look like this") as caught:
        state_of(Place(False, True, True, False), Phase.IN_PROGRESS)
    assert "processing/" in caught.value.next_step


def test_phases_go_forward_and_only_a_broken_seal_leads_back() -> None:
    walked: list[Phase | None] = [None]
    while (following := NEXT_PHASES[walked[-1]] - set(walked)) != frozenset():
        walked += following
    assert walked == [None, *Phase]
    back = {
        (phase, to) for phase in Phase for to in NEXT_PHASES[phase] if to in walked[: walked.index(phase)]
    }
    assert back == {(Phase.PUBLISHING, Phase.IN_PROGRESS)}
