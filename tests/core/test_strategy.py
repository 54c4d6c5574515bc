"""The strategy: what a batch asks for goes before what the operator set, and a restart remembers it."""

from batchd.core.json import dumps
from batchd.core.strategy import STRATEGY, Strategy, settled, strategy_of


def test_what_the_batch_asks_for_goes_before_what_is_usual() -> None:
    assert settled(None, Strategy.NAIVE) is Strategy.NAIVE
    assert settled("naive", Strategy.PREFIX) is Strategy.NAIVE
    assert settled("prefix", Strategy.NAIVE) is Strategy.PREFIX


def test_the_journal_remembers_it_and_an_older_one_is_of_prefix() -> None:
    assert strategy_of({STRATEGY: dumps(Strategy.NAIVE).decode()}) is Strategy.NAIVE
    assert strategy_of({}) is Strategy.PREFIX
