"""Flaws: what a person is told of the answers."""

from batchd.core.flaws import counted_answers, flawed_answers
from batchd.core.record import Progress, Spent
from batchd.core.runaway import Extra

SPENT = Spent(
    empty_answers=1,
    cut_answers=2,
    not_json_answers=3,
    broken_answers=4,
    deduplicated_answers=5,
    lowered_answers=6,
    zero_answers=8,
)


def test_each_kind_is_counted_by_its_name() -> None:
    counted = counted_answers(Progress(9, 6, 3, SPENT, {}, 0.0), Extra(rejected=7))
    again = counted.pop("asked_again")
    assert isinstance(again, dict)
    assert again["rejected"] == 7
    assert counted == {
        "completed": 6,
        "failed": 3,
        "empty": 1,
        "cut_at_bound": 2,
        "lowered_bounds": 6,
        "zero_vectors": 8,
        "not_json": 3,
        "schema_broken": 4,
        "deduplicated": 5,
    }


def test_only_what_there_is_is_said() -> None:
    assert flawed_answers(counted_answers(Progress(9, 9, 0, Spent(), {}, 0.0), Extra())) == []
    assert flawed_answers({}) == []
    said = " ".join(flawed_answers(counted_answers(Progress(9, 6, 3, SPENT, {}, 0.0), Extra())))
    for words in (
        "1 answers are empty",
        "2 answers were cut",
        "6 answers had a bound",
        "8 ",
        "3 answers are not the JSON",
        "4 answers break",
    ):
        assert words in said
