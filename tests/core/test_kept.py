"""Whether a server keeps what its slots gave up is told by what is found in them."""

from batchd.core.kept import BROUGHT_MIN, Kept


def kept(*came: tuple[int, bool | None]) -> Kept:
    found = Kept(3)
    for run, is_brought in came:
        found.came(run, is_brought)
    return found


def test_the_first_time_a_run_is_cold_by_right() -> None:
    assert not kept((0, False), (1, False), (2, False)).runs
    assert repr(kept((0, False))) == "Kept(1 read, 0 brought, 0 missed)"


def test_after_some_that_were_brought_what_was_read_is_kept_and_nothing_else() -> None:
    found = kept((0, False), *[(0, True)] * BROUGHT_MIN)
    assert found.runs == bytearray([1, 0, 0])
    found.came(1, False)
    assert found.runs == bytearray([1, 1, 0])


def test_what_nobody_can_tell_proves_nothing() -> None:
    assert not kept(*[(0, None)] * 50).runs


def test_a_memory_that_is_too_small_is_none() -> None:
    found = kept((0, False), *[(0, True)] * BROUGHT_MIN, (0, False))
    assert found.runs
    found.came(0, False)
    assert not found.runs


def test_it_goes_with_its_server() -> None:
    found = kept((0, False), *[(0, True)] * BROUGHT_MIN)
    found.forget()
    assert found.runs == bytearray(3)
