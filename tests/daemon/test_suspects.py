"""Suspects, halved until one is alone."""

from batchd.daemon.suspects import LATE_MAX, Suspects, Verdict


def tried(suspects: Suspects, guilty: set[int]) -> list[tuple[int, ...]]:
    """The companies in the order of their trials; one with a guilty member dies and is split."""
    order = []
    while (company := suspects.first(0.0)) is not None:
        suspects.take(company)
        order.append(company.members)
        if len(company.members) > 1 and guilty & set(company.members):
            for member in company.members:
                suspects.note(member)
            suspects.split()
    return order


def test_one_among_64_is_found_in_seven_halvings() -> None:
    suspects = Suspects()
    for index in range(64):
        suspects.note(index)
    suspects.split()
    order = tried(suspects, {37})
    assert (37,) in order
    assert sum(37 in company for company in order) == 6
    assert len(order) == 12


def test_an_odd_company_is_split_without_losing_anybody() -> None:
    suspects = Suspects()
    for index in range(5):
        suspects.note(index)
    assert (len(suspects), sorted(suspects)) == (5, [0, 1, 2, 3, 4])
    suspects.split()
    assert repr(suspects) == "Suspects([3, 2], 0 noted)"
    assert (len(suspects), sorted(suspects)) == (5, [0, 1, 2, 3, 4])


def test_one_that_waits_for_its_moment_is_passed_over() -> None:
    suspects = Suspects()
    suspects.put([1], due=10.0)
    suspects.put([2], due=5.0)
    suspects.put([])
    assert (suspects.first(4.0), suspects.left_s(4.0)) == (None, 1.0)
    second = suspects.first(5.0)
    assert second is not None
    assert second.members == (2,)


def test_the_verdict_is_said_once_when_none_is_left() -> None:
    suspects = Suspects()
    assert suspects.verdict() is None
    suspects.died(0)
    suspects.note(1)
    suspects.split()
    assert suspects.verdict() is None
    company = suspects.first(0.0)
    assert company is not None
    suspects.take(company)
    suspects.convict("a")
    assert suspects.verdict() == Verdict(("a",), {0: 1})
    assert suspects.verdict() is None


def test_those_that_hung_come_last_and_are_nobodys_verdict_until_then() -> None:
    suspects = Suspects()
    suspects.note(1, is_late=True)
    suspects.note(2)
    suspects.split()
    company = suspects.first(0.0, may_be_late=False)
    assert company is not None
    assert company.members == (2,)
    suspects.take(company)
    assert suspects.verdict() == Verdict((), {})
    assert suspects.first(0.0, may_be_late=False) is None
    assert list(suspects) == [1]
    late = suspects.first(0.0)
    assert late is not None
    suspects.take(late)
    suspects.convict("slow")
    assert suspects.verdict() == Verdict(("slow",), {})


def test_too_many_of_them_do_not_wait() -> None:
    suspects = Suspects()
    for index in range(LATE_MAX + 1):
        suspects.note(index, is_late=True)
    assert suspects.first(0.0, may_be_late=False) is None
    suspects.split()
    assert suspects.first(0.0, may_be_late=False) is not None
