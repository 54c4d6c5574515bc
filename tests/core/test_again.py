"""A name that comes again at once is said; any other claim is not."""

from batchd.core.again import _NAMES_MAX, AGAIN_S, Reappearing

FIRST, SECOND = "batch_" + "1" * 32, "batch_" + "2" * 32


def test_a_name_that_comes_again_at_once_names_the_batch_before_and_what_helps() -> None:
    seen = Reappearing()
    assert seen.claim(b"grow.jsonl", 1_000, FIRST, 10.0, 2.0) == ""
    note = seen.claim(b"grow.jsonl", 1_000, SECOND, 16.4, 2.0)
    assert all(word in note for word in ("came again 6 s after", FIRST, "settle_s (2 s)", "rename"))


def test_another_name_another_owner_and_a_later_day_say_nothing() -> None:
    seen = Reappearing()
    seen.claim(b"a.jsonl", 1_000, FIRST, 0.0, 2.0)
    assert seen.claim(b"b.jsonl", 1_000, SECOND, 1.0, 2.0) == ""
    assert seen.claim(b"a.jsonl", 1_001, SECOND, 1.0, 2.0) == ""
    assert seen.claim(b"a.jsonl", 1_000, SECOND, AGAIN_S + 0.1, 2.0) == ""


def test_where_files_settle_slowly_at_once_is_longer() -> None:
    seen = Reappearing()
    seen.claim(b"a.jsonl", 1_000, FIRST, 0.0, 100.0)
    assert seen.claim(b"a.jsonl", 1_000, SECOND, 299.0, 100.0)
    assert seen.claim(b"a.jsonl", 1_000, SECOND, 600.0, 100.0) == ""


def test_no_more_than_so_many_names_are_remembered() -> None:
    seen = Reappearing()
    for number in range(2 * _NAMES_MAX):
        seen.claim(b"%d.jsonl" % number, 0, f"batch_{number:032x}", 0.0, 2.0)
    assert repr(seen) == f"<Reappearing {_NAMES_MAX} names>"
    assert seen.claim(b"0.jsonl", 0, FIRST, 0.0, 2.0) == ""
