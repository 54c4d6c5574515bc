from batchd.core.governor import Limits, after_out_of_memory


def test_our_own_slots_are_halved_down_to_one() -> None:
    limits = Limits(slots=8, owns_slots=True)
    seen = []
    while True:
        limits, change = after_out_of_memory(limits, "insufficient memory")
        if change is None:
            break
        seen.append((change.old, change.new, change.cause))
    assert seen == [
        ("8", "4", "insufficient memory"),
        ("4", "2", "insufficient memory"),
        ("2", "1", "insufficient memory"),
    ]


def test_the_slots_of_an_attached_server_are_not_ours_to_change() -> None:
    limits = Limits(slots=4, owns_slots=False)
    assert after_out_of_memory(limits, "insufficient memory") == (limits, None)
