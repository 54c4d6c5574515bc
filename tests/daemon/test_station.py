"""Several model servers on one batch: who does what, and what one of them may meet without the others."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from batchd.core.fault import ModelFault
from batchd.core.model import Load, Loaded
from batchd.core.record import LANES_EACH
from batchd.core.request import Request
from batchd.core.strategy import Strategy
from batchd.daemon.station import Station
from batchd.errors import UnavailableError
from tests.daemon.bench import Bench, parsed
from tests.fakes.made_batch import Line, chat, made_batch
from tests.fakes.scripted_model import (
    Played,
    Script,
    ScriptedModel,
    answer,
    crash,
    missing_model,
    overflow,
    unreachable,
)


class Absent(ScriptedModel):
    """Its server is never ready."""

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        await asyncio.Event().wait()
        return None


class Unusable(ScriptedModel):
    """A person must mend it, and a foreground run ends with that."""

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        raise UnavailableError("The model server cannot be used: the key is wrong", "Mend that.")


class Mortal(ScriptedModel):
    """Answers so many requests, dies under the next ones, and is not there any more."""

    def __init__(self, lives: int, name: str, number: int) -> None:
        super().__init__(None, lambda request: None, name, number)
        self._lives = lives
        self._gone = False

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        if self._gone:
            await asyncio.Event().wait()
        return await super().ensure(load, is_wanted, window_tokens_min)

    async def play(self, request: Request, slot: int) -> Played:
        if len(self.sent) >= self._lives:
            self.sent.append(request.custom_id)
            await asyncio.sleep(0)
            self._gone = True
            return crash()
        return await super().play(request, slot)


def two(one: Script | None = None, other: Script | None = None) -> list[ScriptedModel]:
    return [ScriptedModel(one, name="one", number=0), ScriptedModel(other, name="two", number=1)]


def bench_of(lines: Sequence[Line | None], models: Sequence[ScriptedModel], slots: int = 2) -> Bench:
    return Bench(lines, slots=slots, models=models)


async def done(bench: Bench) -> bool:
    async with asyncio.timeout(20):
        return await bench.work()


def servers(bench: Bench) -> dict[str, str]:
    """custom_id to the server that its line names."""
    lines = [parsed(line) for _, is_error, line in bench.batch.journal.results() if not is_error]
    return {line["custom_id"]: line["response"]["server"] for line in lines}


async def test_two_servers_share_the_lines_and_each_result_says_who_gave_it() -> None:
    models = two()
    bench = bench_of([chat(f"r{n}") for n in range(60)], models)
    assert await done(bench)
    assert bench.outcomes() == {f"r{n}": "yes" for n in range(60)}
    sent = {model.name: set(model.sent) for model in models}
    assert not sent["one"] & sent["two"]
    assert min(len(lines) for lines in sent.values()) >= 20
    said = servers(bench)
    assert {name: {line for line, who in said.items() if who == name} for name in sent} == sent
    places = {outcome.place.lane for outcome in bench.durable if outcome.place is not None}
    assert places == {0, 1, LANES_EACH, LANES_EACH + 1}


async def test_the_line_of_a_server_that_is_alone_does_not_name_it() -> None:
    bench = Bench([chat("a")])
    assert await done(bench)
    [(_, _, line)] = bench.batch.journal.results()
    assert "server" not in parsed(line)["response"]
    assert repr(Station(bench.dispatcher._stations[0]._site, bench.model)).startswith("Station(alone")


async def test_each_group_stays_in_one_lane_of_one_server_while_it_has_lines() -> None:
    shuffled = [
        chat(f"{name}{n}", system=f"Rubric {name}. {'Word for word. ' * 90}")
        for n in range(12)
        for name in "abcd"
    ]
    warm = answer(prompt=520)
    warm = replace(warm, usage=replace(warm.usage, cached_tokens=510))
    scripts = Script(), Script()
    for script in scripts:
        for line in shuffled:
            script.answers(str(line["custom_id"]), warm)
    models = two(*scripts)
    bench = bench_of(shuffled, models)
    assert await done(bench)
    early = {
        name: {
            (model.name, model.slots[f"{name}{n}"])
            for model in models
            for n in range(6)
            if f"{name}{n}" in model.slots
        }
        for name in "abcd"
    }
    assert all(len(lanes) == 1 for lanes in early.values()), early
    assert len(set.union(*early.values())) == 4


async def test_the_faster_server_does_more_and_helps_the_slower_one_at_the_end() -> None:
    """Each answer of the slower one takes as long as eight of the other, as long as that one has any."""
    fast = ScriptedModel(name="one")

    class Slow(ScriptedModel):
        async def play(self, request: Request, slot: int) -> Played:
            began = len(fast.sent)
            self.sent.append(request.custom_id)
            while len(fast.sent) < began + 8 and len(fast.sent) + len(self.sent) < 80:  # noqa: ASYNC110
                await asyncio.sleep(0)
            return answer()

    slow = Slow(name="two", number=1)
    bench = bench_of([chat(f"r{n}") for n in range(80)], [fast, slow])
    assert await done(bench)
    assert len(fast.sent) > 3 * len(slow.sent) > 0
    assert len(fast.sent) + len(slow.sent) == 80


async def test_a_server_that_dies_for_good_leaves_its_part_to_the_other_and_charges_nobody() -> None:
    models = [ScriptedModel(name="one", number=0), Mortal(9, "two", 1)]
    bench = bench_of([chat(f"r{n}") for n in range(60)], models)
    assert await done(bench)
    assert bench.outcomes() == {f"r{n}": "yes" for n in range(60)}
    assert bench.batch.journal.attempts() == {}
    # The other one was never told of a death, and heard of its own trials at the end.
    assert models[0].suspects == []
    assert models[0].judgements == [((), 0)]
    assert models[1].judgements == [((), 1)]


async def test_what_a_dead_server_had_ready_is_done_by_the_other_though_its_beginning_is_long() -> None:
    """To take it from the other's lane would cost more than to wait for it, were that lane still there."""
    script, long = Script(), "Word for word. " * 4_000
    names = [*(f"a{n}" for n in range(6)), *(f"b{n}" for n in range(6))]
    for name in names:
        script.answers(name, answer(prompt=40_000))  # half of it was in the slot
    models = [ScriptedModel(script, name="one"), Mortal(1, "two", 1)]
    bench = bench_of([chat(name, system=f"{name[0]} {long}") for name in names], models, slots=1)
    assert await done(bench)
    assert len(bench.outcomes()) == 12


async def test_a_server_that_is_never_ready_does_not_hold_up_the_end() -> None:
    bench = bench_of([chat(f"r{n}") for n in range(8)], [ScriptedModel(), Absent(name="two", number=1)])
    assert await done(bench)
    assert len(bench.outcomes()) == 8


async def test_lines_that_come_back_late_find_a_server_that_had_nothing_left() -> None:
    """One holds the last line, loses it, and cannot be had any more."""
    one, other = two(None, Script().holds("last").answers("last", unreachable()))

    class Leaving(ScriptedModel):
        async def ensure(
            self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
        ) -> Loaded | ModelFault | None:
            if self.sent:
                await asyncio.Event().wait()
            return await super().ensure(load, is_wanted, window_tokens_min)

    other.__class__ = Leaving

    class Waiting(ScriptedModel):
        async def ensure(
            self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
        ) -> Loaded | ModelFault | None:
            await other.sent_to(1)
            return await super().ensure(load, is_wanted, window_tokens_min)

    one.__class__ = Waiting
    bench = bench_of([chat("last")], [one, other], slots=1)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await other.sent_to(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert one.sent == []
        other.release()
    assert working.result()
    assert (one.sent, bench.outcomes()) == (["last"], {"last": "yes"})
    assert len(one.loads) <= 3  # it did not ask for its model over and over meanwhile


async def test_a_server_without_the_model_takes_no_part_and_the_other_does_it_all() -> None:
    models = two(Script().loads(missing_model()))
    bench = bench_of([chat(f"r{n}") for n in range(12)], models)
    assert await done(bench)
    assert (models[0].sent, len(models[1].sent)) == ([], 12)
    assert set(bench.outcomes().values()) == {"yes"}


async def test_where_no_server_has_the_model_its_few_lines_fail_as_with_one() -> None:
    models = two(Script().loads(missing_model()), Script().loads(missing_model()))
    bench = bench_of([chat("a")], models)
    assert await done(bench)
    assert bench.outcomes() == {"a": "model_not_found"}


async def test_one_of_two_servers_that_a_person_must_mend_does_not_end_a_run() -> None:
    models = [Unusable(name="one", number=0), ScriptedModel(name="two", number=1)]
    bench = bench_of([chat(f"r{n}") for n in range(12)], models)
    assert await done(bench)
    assert set(bench.outcomes().values()) == {"yes"}
    with pytest.raises(ExceptionGroup) as raised:
        await done(bench_of([chat("a")], [Unusable(name=name, number=n) for n, name in enumerate("ab")]))
    assert raised.group_contains(UnavailableError, match="the key is wrong", depth=None)


async def test_a_poison_request_is_found_though_two_servers_die_of_it() -> None:
    lines = [chat(f"r{n}") for n in range(10)] + [chat("poison")] + [chat(f"s{n}") for n in range(10)]
    models = two(Script().poisons("poison"), Script().poisons("poison"))
    bench = bench_of(lines, models)
    assert await done(bench)
    outcomes = bench.outcomes()
    assert outcomes.pop("poison") == "crash"
    assert set(outcomes.values()) == {"yes"}
    deaths = [model.judgements for model in models]
    assert [said for said, _ in deaths[0]] == [said for said, _ in deaths[1]]
    assert ("poison",) in [said for said, _ in deaths[0]]


class Measured(ScriptedModel):
    """The long request does not fit into a window below 1,516 tokens; `most` is all that there is."""

    most = 1 << 20

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        for _ in range(300 if self.loads else 0):  # another window takes its time
            await asyncio.sleep(0)
        return await super().ensure(load, is_wanted, window_tokens_min)

    async def play(self, request: Request, slot: int) -> Played:
        window = min(self.loads[-1].window_tokens, self.most)
        if request.custom_id == "long" and window < 1_516:
            self.sent.append("long")
            return overflow(1_500, window)
        return await super().play(request, slot)


async def test_a_larger_window_is_given_by_both_servers_before_anything_else_is_sent() -> None:
    """Else the one with the old window would meet the same request again."""
    slow = Script()
    slow.turns = 60
    models: list[ScriptedModel] = [Measured(name="one"), Measured(slow, name="two", number=1)]
    lines = [chat("long", bound=16), *(chat(f"r{n}", bound=16) for n in range(40))]
    bench = bench_of(lines, models)
    assert await done(bench)
    assert bench.outcomes()["long"] == "yes"
    first, last = ({model.loads[at].window_tokens for model in models} for at in (0, -1))
    assert (first, len(last)) == ({1_024}, 1)
    assert last.pop() >= 1_516
    assert sum(model.sent.count("long") for model in models) == 2


@pytest.mark.parametrize("small", [0, 1])
async def test_a_request_too_long_for_one_servers_memory_waits_for_the_other(small: int) -> None:
    """Whoever meets it first."""
    models = [
        Measured(Script().has_memory_for(1_024) if n == small else None, name=name, number=n)
        for n, name in enumerate(("one", "two"))
    ]
    models[small].most = 1_024
    bench = bench_of([*(chat(f"r{n}") for n in range(20)), chat("long", bound=16)], models)
    assert await done(bench)
    assert bench.outcomes()["long"] == "yes"
    assert servers(bench)["long"] == models[1 - small].name


async def test_a_stop_ends_all_of_them() -> None:
    models = two()
    bench = bench_of([chat(f"r{n}") for n in range(40)], models)
    models[1].on_sent("r20", bench.dispatcher.stop)
    models[0].on_sent("r20", bench.dispatcher.stop)
    assert not await done(bench)
    assert 0 < len(bench.outcomes()) < 40


async def test_conversations_go_on_at_the_other_server_when_theirs_is_gone() -> None:
    lines = [chat(f"{name}{n}", system=f"Judge {name}.") for n in range(8) for name in "abcd"]
    models = [ScriptedModel(name="one", number=0), Mortal(5, "two", 1)]
    bench = Bench([], models=models, batch=made_batch(lines, strategy=Strategy.CONVERSATION), slots=2)
    assert await done(bench)
    assert len(bench.outcomes()) == 32
    assert len(models[1].sent) >= 5
    for name in "abcd":
        order = [line for model in models for line in model.sent if line[0] == name]
        assert set(order) == {f"{name}{n}" for n in range(8)}
