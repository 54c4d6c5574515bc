"""The provenance: which models gave the answers, kept over all lives of the daemon and within a bound."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchd.core.model import Loaded
from batchd.core.provenance import (
    NOT_REPEATABLE,
    REPEATABLE,
    UNSURE,
    USES,
    USES_MAX,
    Account,
    account_of,
    agreed,
    latest,
    read_back,
    render,
)

LOADED = Loaded("m", "sha256:1", "Q4_1", 1_024, 4, 100, 90, 8_192, 2.5004)
NOW: dict[str, object] = {
    "batchd": "0.1.0",
    "engine": {"name": "ollama", "version": "1", "mode": "own"},
    "gpus": [{"name": "card", "driver": "580"}],
    "memory": {"daemon_anonymous_bytes": 1},
}


def models(account: Account) -> list[dict[str, Any]]:
    found = render(account, NOW)["models"]
    assert isinstance(found, list)
    return found


def test_a_use_names_model_engine_and_machine() -> None:
    account = Account().used(LOADED, NOW, 1, 31)
    assert models(account) == [
        {
            "name": "m",
            "digest": "sha256:1",
            "quantization": "Q4_1",
            "window_tokens": 1_024,
            "slots": 4,
            "size_bytes": 100,
            "gpu_bytes": 90,
            "batchd": "0.1.0",
            "engine": {"name": "ollama", "version": "1", "mode": "own"},
            "gpus": [{"name": "card", "driver": "580"}],
            "loads": 1,
            "load_s": 2.5,
        }
    ]
    assert account.canary_tokens == 31


def test_equal_uses_are_one_entry_with_a_count_and_the_latest_stands_last() -> None:
    other = replace(LOADED, slots=2)
    account = Account().used(LOADED, NOW, 0, 0).used(other, NOW, 1, 5)
    account = account.used(replace(LOADED, load_s=9.0), NOW, 2, 10)
    assert [(model["slots"], model["loads"], model["load_s"]) for model in models(account)] == [
        (2, 1, 2.5),
        (4, 2, 9.0),
    ]
    assert account.canary_tokens == 15


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 50)), max_size=20))
def test_the_sums_hold_also_through_the_journal(uses: list[tuple[int, int, int]]) -> None:
    account = Account()
    for slots, loads, tokens in uses:
        account = account.used(replace(LOADED, slots=slots), NOW, loads, tokens)
        account = account_of({USES: account.to_meta()})
    assert sum(use.loads for use in account.uses) == sum(use[1] for use in uses)
    assert account.canary_tokens == sum(use[2] for use in uses)


def test_beyond_the_bound_the_oldest_are_only_counted() -> None:
    account = Account()
    for slots in range(USES_MAX + 5):
        account = account.used(replace(LOADED, slots=slots), NOW, 2, 1)
    assert [model["slots"] for model in models(account)] == list(range(5, USES_MAX + 5))
    assert (account.forgotten_loads, account.canary_tokens) == (10, USES_MAX + 5)


def test_engine_and_gpus_are_those_of_the_latest_use_and_not_of_who_publishes() -> None:
    upgraded = {**NOW, "batchd": "0.2.0", "engine": {"name": "ollama", "version": None}, "gpus": []}
    shown = render(Account().used(LOADED, NOW, 1, 0), upgraded)
    assert (shown["engine"], shown["gpus"]) == (NOW["engine"], NOW["gpus"])
    assert (shown["batchd"], shown["memory"]) == ("0.2.0", NOW["memory"])


def test_a_batch_that_used_nothing_claims_nothing() -> None:
    assert account_of({"name": "x"}) == Account()
    assert render(Account(), NOW) == {**NOW, "models": [], "forgotten_loads": 0, "repeatable": UNSURE}


def test_it_is_said_whether_the_same_answers_would_come_again() -> None:
    one = replace(LOADED, slots=1)
    assert render(Account().used(LOADED, NOW, 1, 0), NOW)["repeatable"] == NOT_REPEATABLE
    assert render(Account().used(one, NOW, 1, 0), NOW)["repeatable"] == REPEATABLE
    assert render(Account().used(one, NOW, 1, 0).used(one, NOW, 1, 0), NOW)["repeatable"] == REPEATABLE
    wider = replace(one, window_tokens=2_048)
    assert render(Account().used(one, NOW, 1, 0).used(wider, NOW, 1, 0), NOW)["repeatable"] == UNSURE
    assert render(Account().used(one, NOW, 1, 0).used(LOADED, NOW, 1, 0), NOW)["repeatable"] == NOT_REPEATABLE


def test_an_account_that_was_found_is_read_back_and_its_last_state_is_known() -> None:
    first = Account().used(LOADED, NOW, 1, 5)
    second = first.used(LOADED, NOW, 0, 5)
    third = second.used(replace(LOADED, slots=2), NOW, 1, 0)
    found = [read_back(account.to_meta()) for account in (second, third, first)]
    assert found == [second, third, first]
    assert latest(account for account in found if account) == third
    assert latest(()) == Account()


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
def test_what_is_no_account_is_none(text: str) -> None:
    assert read_back(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"uses": []}',
        '{"uses": [{"facts": {}, "loads": 1, "load_s": 1.0}]}',
        '{"uses": [{"facts": {"name": 1}, "loads": 1, "load_s": 1.0}]}',
        '{"uses": [{"facts": {"name": "m"}, "loads": "1", "load_s": 1.0}]}',
        '{"uses": [{"facts": {"name": "m"}, "loads": 1, "load_s": 1.0}], "loads": null}',
        '{"uses": [{"facts": {"name": "m"}, "loads": 1, "load_s": 1.0}], "what": 1}',
        '{"uses": {"facts": 1}}',
    ],
)
def test_half_an_account_is_none(text: str) -> None:
    assert read_back(text) is None


def test_of_several_servers_a_model_has_the_digest_that_most_of_them_have_in_any_order() -> None:
    answers = [{"m": "b"}, {"m": "a", "n": "x"}, {"m": "b", "n": "w"}, {}]
    assert agreed(answers) == {"m": "b", "n": "w"}
    assert agreed(reversed(answers)) == agreed(answers)
    assert agreed([]) == {}


def test_the_same_model_on_two_servers_is_two_uses_and_has_one_digest() -> None:
    account = Account().used(LOADED, NOW, 1, 1, "http://a:1").used(LOADED, NOW, 1, 1, "http://b:1")
    assert [model["server"] for model in models(account)] == ["http://a:1", "http://b:1"]
    assert (account.digest_of("m"), account.digest_of("n")) == ("sha256:1", "")
    later = account.used(replace(LOADED, digest="sha256:2"), NOW, 1, 1)
    assert later.digest_of("m") == "sha256:2"
