"""A bench has every case with the same work, whatever came before."""

from dataclasses import replace
from pathlib import Path

import pytest

from batchd.core.bars import NOT_TOLD
from batchd.core.comparison import Comparison, Ran
from batchd.errors import UnavailableError
from batchd.settings import Settings, load_settings
from batchd.tools.bench import Plan, Probed, compare, on_one_server, probe
from batchd.tools.machine import this_machine
from batchd.tools.sheet import HEADS, PROJECTED, cells, on_what, projected, sheet
from batchd.tools.workload import Workload
from tests.simulator.child import ChildSimulator

WORK = Workload(4, 2, 40)


def settings_for(address: str, place: Path) -> Settings:
    flags = {"spool": place, "ollama.host": address, "ollama.mode": "attach", "slots": 2}
    return load_settings({**flags, "share_card": True}, environ={"HOME": str(place)})


def measured(place: Path, plan: Plan) -> tuple[Comparison, Probed, list[float]]:
    shares: list[float] = []
    with ChildSimulator(slots=2) as server:
        settings = settings_for(server.address, place)
        probed = probe(settings, "smollm2:135m", plan)
        return compare(settings, probed, plan, lambda share, text: shares.append(share)), probed, shares


@pytest.mark.timeout(300)  # some daemons, one after the other, on a machine that may be busy
def test_each_case_does_the_same_work_in_each_round(tmp_path: Path) -> None:
    plan = Plan(WORK, (4,), ("keep-alive", "prefix", "bare"), 2)
    comparison, probed, shares = measured(tmp_path, plan)
    assert [(ran.round, ran.case) for ran in comparison.runs] == [
        (0, "keep-alive"),
        (0, "prefix"),
        (0, "bare"),
        (1, "prefix"),
        (1, "bare"),
        (1, "keep-alive"),
    ]
    assert {ran.answered for ran in comparison.runs} == {4}
    # Editions differ in their digits, and so by a token or two.
    prompts = [ran.prompt_tokens for ran in comparison.runs]
    assert max(prompts) - min(prompts) <= 8
    assert all(ran.duration_s > 0 for ran in comparison.runs)
    assert [ran.client_bytes is not None for ran in comparison.runs if ran.case == "prefix"] == [True, True]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    longest_s, shortest_s = probed.seconds(plan)
    assert longest_s > shortest_s > 0
    text = sheet(comparison, plan, probed, this_machine())
    assert text.count("<svg") == 2
    assert "Nothing of it was measured" in text
    assert "prompts kept in host memory: not told by this server" in text
    for row in comparison.rows():
        assert len(cells(row)) == len(HEADS)
    for projection in comparison.projections():
        assert len(projected(projection)) == len(PROJECTED)


@pytest.mark.parametrize(("mib", "said"), [(0, "memory: none"), (8_192, "memory: up to 8,192 MiB")])
def test_what_the_server_keeps_is_said_where_it_is_known(mib: int, said: str) -> None:
    probed = Probed("m", "d", "llamacpp", "1", "child", 4, True, 512, 9.0, 9.0, 40, 1.0, prompt_cache_mib=mib)
    assert on_what(probed).endswith(said)


def test_tokens_that_the_server_does_not_tell_are_no_number() -> None:
    untold = Ran("prefix", 4, 0, 1.0, 4, 400, None, 200, "unknown", None, None)
    [row] = Comparison([untold]).rows()
    assert cells(row)[5:7] == (NOT_TOLD, "-")
    [projection] = Comparison([untold]).projections()
    assert projected(projection)[1] == NOT_TOLD
    about = Comparison([replace(untold, evaluated_tokens=300, source="estimate")]).rows()[0]
    assert cells(about)[5:7] == ("about 300", "about 75.0%")


def test_a_model_that_is_not_there_is_said(tmp_path: Path) -> None:
    with (
        ChildSimulator() as server,
        pytest.raises(UnavailableError, match="does not have the model 'absent'"),
    ):
        probe(settings_for(server.address, tmp_path), "absent", Plan(WORK, (2,)))


def test_of_several_servers_the_first_is_used(tmp_path: Path) -> None:
    flags: dict[str, object] = {"spool": tmp_path, "ollama.hosts": ["10.0.0.1", "10.0.0.2"]}
    several = load_settings(flags, environ={"HOME": str(tmp_path)})
    one = on_one_server(several)
    assert (one.ollama.host, one.ollama.hosts) == (several.ollama.hosts[0], ())
    assert on_one_server(one) == one
