"""The dispatcher and trouble: who is tried again, who is given up, and who pays for a dying server."""

import asyncio
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.overflow import MEMORY, MODEL, SETTING
from batchd.core.record import LineRow
from batchd.core.request import Request
from batchd.core.retry import CRASHES_MAX, SPARED_TRIES
from batchd.core.rules import Rules
from batchd.daemon.station import LOST_GRACE_S
from batchd.daemon.suspects import LATE_MAX
from batchd.errors import SpoolError
from tests.daemon.bench import Bench
from tests.fakes.made_batch import chat, made_batch
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.scripted_model import (
    Played,
    Script,
    ScriptedModel,
    answer,
    crash,
    crowded,
    gateway,
    hiccup,
    hung,
    missing_model,
    out_of_memory,
    out_of_order,
    overflow,
    refused,
    unreachable,
)


async def test_a_temporary_fault_is_tried_again() -> None:
    bench = Bench([chat("a"), chat("b")], Script().answers("a", hiccup(), hiccup(), answer("at last")))
    assert await bench.work()
    assert bench.outcomes() == {"a": "at last", "b": "yes"}
    assert bench.model.sent.count("a") == 3
    assert bench.batch.journal.progress().faults == {"server": 2}


async def test_the_wait_before_another_attempt_is_slept_on_the_clock() -> None:
    bench = Bench([chat("a")], Script().answers("a", hiccup(), answer()), slots=1)
    started = bench.clock.monotonic()
    await bench.work()
    assert 0.2 <= bench.clock.monotonic() - started <= 0.3


async def test_a_temporary_fault_that_stays_is_given_up_with_its_error_line() -> None:
    bench = Bench([chat("a")], Script().answers("a", *[hiccup()] * 3), rules=Rules(slots=1, attempts_max=3))
    assert await bench.work()
    assert bench.outcomes() == {"a": "server"}
    assert bench.messages() == {"a": "server busy"}


async def test_a_request_that_the_model_refuses_is_not_tried_again() -> None:
    bench = Bench([chat("a"), chat("b")], Script().answers("a", refused("no such format")))
    assert await bench.work()
    assert bench.outcomes() == {"a": "invalid_request", "b": "yes"}


async def test_a_missing_model_fails_its_lines_and_the_next_model_still_runs() -> None:
    lines = [chat("a", model="gone"), chat("b", model="here"), chat("c", model="gone")]
    bench = Bench(lines, Script().loads(missing_model("gone")))
    assert await bench.work()
    assert bench.outcomes() == {"a": "model_not_found", "b": "yes", "c": "model_not_found"}
    assert "ollama pull gone" in bench.messages()["a"]
    assert bench.model.sent == ["b"]


async def test_a_crash_costs_the_innocent_nothing_but_a_second_try() -> None:
    lines = [chat(name) for name in ("a", "b", "c", "poison", "d", "e")]
    bench = Bench(lines, Script().poisons("poison"), slots=4)
    assert await bench.work()
    assert bench.outcomes() == {**dict.fromkeys("abcde", "yes"), "poison": "crash"}
    assert len(bench.model.suspects) >= CRASHES_MAX


async def test_a_poison_request_is_found_by_halves_and_kills_alone_twice() -> None:
    lines = [chat(f"r{n}") for n in range(6)] + [chat("poison")] + [chat(f"s{n}") for n in range(6)]
    bench = Bench(lines, Script().poisons("poison"), slots=4)
    await bench.work()
    assert len(bench.model.alone("poison")) == 4
    assert bench.model.alone("poison")[-2:] == [True, True]
    # With the others beside it in two companies at most; in how many hangs on when threads read their lines.
    assert max(bench.model.sent.count(f"{name}{n}") for name in "rs" for n in range(6)) <= 3
    # The first death made suspects; it was the last with anybody in danger who was not one of them.
    assert bench.model.trials.index(True) == bench.model.trials.count(False)
    assert bench.model.judgements == [(("poison",), 1)]
    # Its last trial is at the smallest chunk there is, so that nothing else can be the cause.
    assert [load.slots for load in bench.model.loads].count(1) == 1


async def test_nobody_is_guilty_of_a_death_that_does_not_come_again() -> None:
    bench = Bench([chat(f"r{n}") for n in range(6)], Script().answers("r1", crash(), answer()))
    assert await bench.work()
    assert bench.model.judgements == [((), 1)]
    assert bench.batch.journal.attempts() == {}


async def test_a_server_that_hangs_makes_suspects_of_all_that_it_held() -> None:
    lines = [chat(name) for name in ("b", "slow", "c")]
    bench = Bench(lines, Script().answers("slow", hung(), hung(), hung()).holds("b"))
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await bench.model.sent_to(3)
        bench.model.release()
    assert working.result()
    assert bench.outcomes() == {"slow": "timeout", "b": "yes", "c": "yes"}
    assert bench.model.alone("slow") == [False, True, True]


async def test_a_request_that_takes_too_long_while_others_are_answered_is_charged_itself() -> None:
    lines = [chat("a"), chat("slow"), *(chat(f"r{n}") for n in range(20))]
    bench = Bench(lines, Script().answers("slow", hung(), answer("late")), slots=1)
    assert await bench.work()
    assert bench.outcomes()["slow"] == "late"
    assert (bench.model.suspects, bench.model.judgements) == ([], [])


class TimedModel(ScriptedModel):
    """Keeps the limits of each request."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.limits_s: dict[str, list[float]] = {}

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
        self.limits_s.setdefault(request.custom_id, []).append(timeout_s)
        return await super().answer(request, slot, timeout_s)


@pytest.mark.parametrize("place", [0, 1])
async def test_what_hung_once_is_tried_again_after_all_others_and_for_as_long_as_their_speed_says(
    place: int,
) -> None:
    """Whether the server was lost with it, or answered others meanwhile."""
    others = [f"r{number}" for number in range(20)]
    names = [*others[:place], "slow", *others[place:]]
    script = Script().answers("slow", hung(), hung(), hung())
    for name in others:
        script.answers(name, answer(prompt=40, completion=40))
    model = TimedModel(script)
    bench = Bench([chat(name) for name in names], models=[model], slots=1)
    assert await bench.work()
    assert bench.outcomes() == {"slow": "timeout", **dict.fromkeys(others, "yes")}
    sent = [name for name in model.sent if name in names]
    assert sent == [*names, *["slow"] * (len(sent) - len(names))]
    assert model.limits_s["slow"][0] == 300.0
    assert set(model.limits_s["slow"][1:]) == {30.0}


async def test_a_server_that_hangs_under_everything_is_seen_to_before_the_end() -> None:
    names = [f"r{number}" for number in range(60)]
    script = Script()
    for name in names:
        script.answers(name, *[hung()] * 4)
    bench = Bench([chat(name) for name in names], script, slots=1)
    assert await bench.work() is False or bench.outcomes()
    tried_twice = next(
        place for place, name in enumerate(bench.model.sent) if name in bench.model.sent[:place]
    )
    assert tried_twice <= LATE_MAX + 2


async def test_another_chunk_ends_the_lanes_and_asks_for_the_model_again() -> None:
    bench = Bench([chat(f"r{n}") for n in range(12)], slots=2)
    bench.model.has_more = True
    assert await bench.work()
    assert len(bench.model.loads) == len(bench.model.cohorts)
    assert [cohort.answers for cohort in bench.model.cohorts] == [2] * len(bench.model.cohorts)
    assert bench.model.sent.count("r0") == 1


async def test_two_poison_requests_take_nobody_with_them() -> None:
    lines = [chat("p1"), *(chat(f"r{n}") for n in range(6)), chat("p2")]
    bench = Bench(lines, Script().poisons("p1", "p2"), slots=4)
    assert await bench.work()
    assert bench.outcomes() == {**{f"r{n}": "yes" for n in range(6)}, "p1": "crash", "p2": "crash"}


async def test_a_suspect_stays_alone_whatever_else_befalls_it() -> None:
    script = (
        Script()
        .answers("x", crash(), hiccup(), unreachable(), answer("fine"))
        .answers("y", crash(), hiccup(), answer("fine"))
    )
    bench = Bench([chat("x"), chat("y")], script)
    assert await bench.work()
    assert bench.outcomes() == {"x": "fine", "y": "fine"}
    assert bench.model.alone("x")[1:] == [True, True, True]
    assert bench.model.alone("y") == [False, True, True]


async def test_a_death_out_of_memory_makes_suspects_too_and_ends_as_oom() -> None:
    bench = Bench([chat("big"), chat("b")], Script().answers("big", *[out_of_memory()] * CRASHES_MAX))
    assert await bench.work()
    assert bench.outcomes() == {"big": "oom", "b": "yes"}


async def test_a_server_out_of_reach_charges_nobody() -> None:
    bench = Bench([chat("a"), chat("b")], Script().answers("a", *[unreachable()] * 7, answer()), slots=1)
    assert await bench.work()
    assert bench.outcomes() == {"a": "yes", "b": "yes"}
    assert len(bench.model.loads) == 8
    assert bench.batch.journal.progress().faults == {"network": 7}


async def test_lanes_that_hang_after_a_death_are_called_off_and_what_they_held_is_suspect_too() -> None:
    script = Script().answers("dies", crash(), answer()).holds("hangs")
    bench = Bench([chat("dies"), chat("hangs")], script)
    async with asyncio.TaskGroup() as group:
        working = group.create_task(bench.work())
        await bench.model.sent_to(3)
        assert bench.model.cancelled == ["hangs"]
        bench.model.release()
    assert working.result()
    assert LOST_GRACE_S in bench.clock.slept
    assert bench.outcomes() == {"dies": "yes", "hangs": "yes"}
    assert bench.batch.journal.attempts() == {}
    assert bench.model.sent[2:] == ["dies", "hangs"]
    assert bench.model.alone("hangs") == [False, True]


class SlowCounter(ScriptedModel):
    """Its first count of tokens takes longer than anybody waits; the server dies meanwhile."""

    async def count_tokens(self, request: Request) -> int | None:
        if not self.counted:
            self.counted.append(request.custom_id)
            await asyncio.Event().wait()
        return await super().count_tokens(request)


async def test_a_line_that_is_called_off_while_its_tokens_are_counted_is_done_as_the_others_are() -> None:
    lines = [chat("long"), chat("counted"), chat("dies")]
    script = Script().answers("long", overflow(1_020, 1_024), answer()).answers("dies", crash(), answer())
    bench = Bench(lines, models=[SlowCounter(script)])
    async with asyncio.timeout(20):
        assert await bench.work()
    assert bench.model.counted[0] == "counted"
    assert bench.outcomes() == {"long": "yes", "counted": "yes", "dies": "yes"}


async def test_a_prompt_longer_than_estimated_widens_the_window_and_is_not_failed() -> None:
    bench = Bench([chat("a"), chat("b")], Script().answers("a", overflow(1_480, 1_024), answer("fits now")))
    assert await bench.work()
    assert [load.window_tokens for load in bench.model.loads] == [1_024, 1_536]
    assert bench.outcomes() == {"a": "fits now", "b": "yes"}


async def test_a_prompt_beyond_any_window_is_an_error_line_with_both_numbers() -> None:
    bench = Bench(
        [chat("a")],
        Script().answers("a", overflow(5_000, 1_024)),
        rules=Rules(slots=1, window_tokens_max=4_096),
    )
    assert await bench.work()
    assert bench.outcomes() == {"a": "context_length_exceeded"}
    assert "5000" in bench.messages()["a"]
    assert "4096 tokens" in bench.messages()["a"]
    assert bench.messages()["a"].endswith(f"bounded by {SETTING}.")


async def test_the_models_own_maximum_bounds_the_window_too() -> None:
    script = Script().answers("a", overflow(3_000, 2_048)).has_model_maximum(2_048)
    bench = Bench([chat("a")], script)
    assert await bench.work()
    assert bench.outcomes() == {"a": "context_length_exceeded"}
    assert len(bench.model.loads) == 1


async def test_a_server_that_never_grants_the_window_is_not_asked_forever() -> None:
    script = Script().answers("a", overflow(1_480, 1_024), overflow(1_480, 1_024)).has_windows(1_024)
    bench = Bench([chat("a")], script)
    assert await bench.work()
    assert bench.outcomes() == {"a": "context_length_exceeded"}
    assert [load.window_tokens for load in bench.model.loads] == [1_024, 1_536]


async def test_a_request_whose_window_memory_does_not_hold_ends_with_its_name_and_the_others_run() -> None:
    script = Script().answers("a", overflow(1_480, 1_024), overflow(1_480, 1_024)).has_memory_for(1_024)
    bench = Bench([chat("a"), chat("b")], script)
    assert await bench.work()
    assert bench.outcomes() == {"a": "context_length_exceeded", "b": "yes"}
    assert bench.batch.journal.progress().faults["oom"] == 1
    assert "maximum context length is 1024 tokens" in bench.messages()["a"]
    assert "1480 in the messages, 16 in the completion" in bench.messages()["a"]
    assert bench.messages()["a"].endswith(f"bounded by {MEMORY}.")


async def test_a_request_longer_than_the_model_allows_is_not_blamed_on_memory() -> None:
    script = Script().answers("a", overflow(3_000, 1_024)).has_memory_for(1_024).has_model_maximum(2_048)
    bench = Bench([chat("a")], script)
    assert await bench.work()
    assert bench.outcomes() == {"a": "context_length_exceeded"}
    assert bench.messages()["a"].endswith(f"bounded by {MODEL}.")


async def test_a_set_up_that_a_person_must_mend_charges_nobody() -> None:
    bench = Bench([chat("a"), chat("b")], Script().answers("a", *[out_of_order()] * 7, answer()), slots=1)
    assert await bench.work()
    assert bench.outcomes() == {"a": "yes", "b": "yes"}
    assert bench.batch.journal.attempts() == {}


async def test_a_line_that_was_accepted_and_is_refused_by_a_stricter_batchd_is_one_error_line() -> None:
    class Older(MemoryJournal):
        """Accepted what is no request today."""

        def read_lines(self, indices: Sequence[int]) -> list[LineRow]:
            rows = super().read_lines(indices)
            return [replace(row, crc=zlib.crc32(raw[row.offset : row.offset + row.length])) for row in rows]

    batch = made_batch([chat("a"), chat("b", text="strange")], Older())
    raw = batch.input.read().replace(b'"strange"', b"123456789")
    batch.input = io.BytesIO(raw)
    bench = Bench([], batch=batch)
    assert await bench.work()
    assert bench.outcomes() == {"a": "yes", "b": "invalid_type"}


async def test_an_answer_cut_by_the_window_is_asked_again_with_a_wider_one() -> None:
    script = Script().answers(
        "a", answer("half", prompt=1_000, completion=24, finish="length"), answer("whole")
    )
    bench = Bench([chat("a", bound=64)], script)
    assert await bench.work()
    assert [load.window_tokens for load in bench.model.loads] == [1_024, 1_280]
    assert bench.outcomes() == {"a": "whole"}


async def test_an_answer_cut_by_its_own_bound_is_the_answer() -> None:
    bench = Bench([chat("a", bound=24)], Script().answers("a", answer("bound", 1_000, 24, "length")))
    assert await bench.work()
    assert bench.outcomes() == {"a": "bound"}
    assert bench.batch.journal.progress().spent.cut_answers == 1


async def test_a_window_that_is_just_full_is_widened_although_the_numbers_would_fit() -> None:
    """The engine stops a token or so before the end: the bound of 24 is 1,024 exactly, 23 is what came."""
    script = Script().answers("a", answer("most", 1_000, 23, "length"), answer("whole"))
    bench = Bench([chat("a", bound=24)], script)
    assert await bench.work()
    assert bench.outcomes() == {"a": "whole"}
    assert [load.window_tokens for load in bench.model.loads] == [1_024, 1_280]


async def test_a_damaged_line_of_our_copy_stops_the_daemon() -> None:
    bench = Bench([chat("a"), chat("b")])
    at = bench.batch.input.read().index(b"hi")
    bench.batch.input.seek(at)
    bench.batch.input.write(b"ho")
    with pytest.raises(ExceptionGroup) as raised:
        await bench.work()
    assert raised.group_contains(SpoolError, match="Line 1 of")
    assert "a" not in bench.model.sent


async def test_a_limit_that_was_lowered_since_does_not_refuse_what_was_accepted() -> None:
    bench = Bench([chat("a", text="word " * 600)], rules=Rules(slots=1, line_bytes_max=1_024))
    assert await bench.work()
    assert bench.outcomes() == {"a": "yes"}


async def test_a_fault_of_the_whole_load_is_counted_for_each_line() -> None:
    gone = ModelFault(Category.MODEL, "gone", is_temporary=False)
    bench = Bench([chat("a"), None, chat("b")], Script().loads(gone))
    assert await bench.work()
    assert bench.batch.journal.progress().faults == {"validation": 1, "model": 2}


async def test_a_gateway_that_refuses_one_request_alone_ends_it_after_its_attempts() -> None:
    bench = Bench([chat("a"), chat("b"), chat("c")], Script().answers("a", *[gateway()] * 3))
    assert await bench.work()
    assert bench.outcomes() == {"a": "network", "b": "yes", "c": "yes"}
    assert "gateway before the model server answered 504" in bench.messages()["a"]
    assert bench.model.sent.count("canary") >= 2  # the others were done by then, and the server was asked


async def test_a_gateway_without_its_server_charges_nobody_however_long() -> None:
    away = [gateway()] * 20
    script = Script().answers("a", *away, answer()).answers("b", *away, answer()).answers("canary", *away * 2)
    bench = Bench([chat("a"), chat("b")], script)
    assert await bench.work()
    assert bench.outcomes() == {"a": "yes", "b": "yes"}
    assert bench.batch.journal.attempts() == {}


async def test_a_crowded_server_is_asked_again_without_using_up_attempts() -> None:
    script = Script().answers("a", *[crowded()] * (SPARED_TRIES - 1), answer("at last"))
    bench = Bench([chat("a"), chat("b")], script)
    assert await bench.work()
    assert bench.outcomes() == {"a": "at last", "b": "yes"}
    assert bench.batch.journal.attempts() == {}
    assert "canary" not in bench.model.sent


@pytest.mark.parametrize(("fault", "code"), [(crowded(), "network"), (out_of_order(), "model_error")])
async def test_what_one_request_alone_would_meet_for_ever_ends_it_some_time(
    fault: ModelFault, code: str
) -> None:
    tries = 3 * SPARED_TRIES
    bench = Bench([chat("a"), chat("b")], Script().answers("a", *[fault] * tries))
    assert await bench.work()
    assert bench.outcomes() == {"a": code, "b": "yes"}
    assert bench.model.sent.count("a") == tries


async def test_a_request_that_is_called_off_while_the_server_is_asked_for_others_finds_its_place() -> None:
    script = Script().answers("a", gateway(), answer("later")).answers("b", crash(), answer())
    script.held.add("canary")
    bench = Bench([chat("a"), chat("b"), chat("c")], script)
    async with asyncio.timeout(20):
        assert await bench.work()
    assert bench.outcomes() == {"a": "later", "b": "yes", "c": "yes"}
