from batchd.core.limits import LOADED, Limits, after_load
from batchd.core.model import Load, Loaded, ServerDescription


def test_limits_never_give_more_than_was_asked_for() -> None:
    assert Limits(8, True, 9_999).applied_to(Load("m", 1_024, 2)) == Load("m", 1_024, 2)
    assert Limits(2, True, 512).applied_to(Load("m", 1_024, 4)) == Load("m", 512, 2)


def test_a_load_is_told_with_its_model_and_what_its_canary_read() -> None:
    loaded = Loaded("m", "sha256:1", None, 1_024, 2, 10, 10, None, 0.5)
    change = after_load(loaded, ServerDescription("ollama", "0.33", "own", "there"), 12)
    assert (change.name, change.old) == (LOADED, "12")
    assert change.new == "m sha256:1 , window 1024 tokens, 2 slots, ollama 0.33"


def test_a_larger_window_is_as_good_unless_memory_was_short() -> None:
    wish = Load("m", 4_096, 2, accepts_larger=True)
    assert Limits(2, False).applied_to(wish).accepts_larger
    assert not Limits(2, False, window_tokens=2_048).applied_to(wish).accepts_larger
    assert not Limits(2, False).applied_to(Load("m", 4_096, 2)).accepts_larger
