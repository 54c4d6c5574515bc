"""A pause: what the journal keeps of it is what was meant."""

import shlex

from hypothesis import given
from hypothesis import strategies as st

from batchd.core.options import is_batch_id
from batchd.core.pause import NOT_PAUSED, PAUSE, Cause, Pause, pause_of, way_on


@given(st.sampled_from(Cause), st.text(st.characters(codec="utf-8")), st.floats(min_value=0, max_value=1e12))
def test_what_is_kept_is_read_back(cause: Cause, reason: str, at: float) -> None:
    pause = Pause(cause, reason, at)
    assert pause_of({PAUSE: pause.to_meta(), "other": "1"}) == pause


def test_a_batch_that_was_never_paused_and_one_that_was_resumed_go_on() -> None:
    assert pause_of({}) is None
    assert pause_of({PAUSE: NOT_PAUSED}) is None


def test_the_way_on_is_a_command_with_the_beginning_of_the_id() -> None:
    batch_id = f"batch_{0xABCDEF0123456789:032x}"
    assert is_batch_id(batch_id)
    *command, named = way_on(batch_id).split()
    assert command == ["batchd", "resume"]
    assert batch_id.startswith(named)
    assert named != "batch_"
    assert shlex.split(way_on(batch_id, "my spool"))[3:] == ["--spool", "my spool"]
