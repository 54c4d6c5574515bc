"""Bounds and windows: who runs in which window, what is lowered, and who is refused."""

from collections.abc import Sequence

import pytest

from batchd.core.fault import Category
from batchd.core.model import Answer, Source, Usage
from batchd.core.overflow import MEMORY, MODEL, SETTING
from batchd.core.request import Request
from batchd.core.rules import Rules
from batchd.core.strategy import Habits, Strategy
from batchd.core.tokens import estimate_request
from tests.daemon.bench import Bench, parsed
from tests.fakes.made_batch import Line, chat, made_batch
from tests.fakes.scripted_model import Played, Script, ScriptedModel, answer, crash, hung, overflow

LARGEST = 8_192
RULES = Rules(slots=2, window_tokens_max=LARGEST)


class Room(ScriptedModel):
    """Answers as long as a request wishes (its text says how many tokens), or until the window is full."""

    def __init__(self, script: Script | None = None, name: str = "", number: int = 0) -> None:
        super().__init__(script, name=name, number=number)
        self.windows: dict[str, list[int]] = {}
        self.bounds: dict[str, int] = {}
        self.limits_s: dict[str, float] = {}

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
        window = self._script.windows_max or LARGEST
        window = min(window, self.loads[-1].window_tokens)
        self.windows.setdefault(request.custom_id, []).append(window)
        self.bounds[request.custom_id] = request.completion_tokens_max
        self.limits_s[request.custom_id] = timeout_s
        played = await super().answer(request, slot, timeout_s)
        if not isinstance(played, Answer):
            return played
        prompt = estimate_request(request)
        if prompt >= window:
            return overflow(prompt, window)
        wished = int(request.messages[-1].text.split()[-1])
        bound = min(request.completion_tokens_max, window - prompt)
        tokens, finish = min(wished, bound), "stop" if wished <= bound else "length"
        return Answer("yes", None, finish, Usage(prompt, tokens, 0, Source.ENGINE, 0.01, 0.02))


def wish(custom_id: str, tokens: int, bound: int, words: int = 0, system: str = "Judge.") -> Line:
    """A request whose answer would have so many tokens."""
    return chat(custom_id, system, bound=bound, text=f"{'word ' * words}{tokens}")


def small(count: int) -> list[Line]:
    return [wish(f"s{number}", 5, 16) for number in range(count)]


def bench_of(lines: Sequence[Line], script: Script | None = None, rules: Rules = RULES) -> tuple[Bench, Room]:
    room = Room(script)
    return Bench(lines, models=[room], rules=rules), room


def lowered(bench: Bench) -> dict[str, int]:
    """custom_id to the tokens that the window left for its answer."""
    lines = [parsed(line) for _, is_error, line in bench.batch.journal.results() if not is_error]
    found = {line["custom_id"]: line["response"].get("lowered_bound") for line in lines}
    return {custom_id: left for custom_id, left in found.items() if left is not None}


@pytest.mark.parametrize("count", [3, 100])
async def test_a_bound_above_every_window_runs_in_the_largest_and_the_others_in_theirs(count: int) -> None:
    bench, room = bench_of([wish("big", 3_000, 128_000), *small(count)])
    assert await bench.work()
    assert set(bench.outcomes().values()) == {"yes"}
    assert [load.window_tokens for load in room.loads] == [1_024, LARGEST]
    assert {windows[0] for custom_id, windows in room.windows.items() if custom_id != "big"} == {1_024}
    assert (room.windows["big"], room.sent[-1]) == ([LARGEST], "big")
    [left] = lowered(bench).values()
    assert LARGEST - 100 < left < LARGEST
    assert bench.batch.journal.progress().spent.lowered_answers == 1


async def test_the_server_is_never_asked_for_more_than_its_window() -> None:
    """Some refuse it; and the time that it would take is no measure of anything."""
    lines = [wish(f"b{number}", 20, 2**31 - 1) for number in range(12)]
    bench, room = bench_of(lines)
    assert await bench.work()
    assert set(room.bounds.values()) == {LARGEST}
    assert max(room.limits_s.values()) == RULES.request_timeout_s


async def test_an_answer_that_runs_into_its_lowered_bound_is_an_error_line_with_all_numbers() -> None:
    bench, room = bench_of([wish("big", 9_000, 128_000), *small(3)])
    assert await bench.work()
    assert bench.outcomes()["big"] == "context_length_exceeded"
    assert bench.batch.journal.progress().completed == 3
    assert room.windows["big"] == [LARGEST]  # once: there is no larger one
    message = bench.messages()["big"]
    assert f"maximum context length is {LARGEST} tokens" in message
    assert "128000 in the completion: max_tokens" in message
    assert message.endswith(f"bounded by {SETTING}.")
    assert bench.batch.journal.progress().spent.lowered_answers == 0


async def test_the_default_bound_near_the_window_is_lowered_too() -> None:
    rules = Rules(slots=1, window_tokens_max=2_048)
    words = 1_000  # some 1,700 tokens, and 1,024 for the answer
    fits, cut = wish("fits", 20, 1_024, words), wish("cut", 1_000, 1_024, words)
    for line in (fits, cut):
        del line["body"]["max_completion_tokens"]  # type: ignore[attr-defined]  # it is an object
    bench, room = bench_of([fits, cut], rules=rules)
    assert await bench.work()
    assert bench.outcomes() == {"fits": "yes", "cut": "context_length_exceeded"}
    assert [load.window_tokens for load in room.loads] == [2_048]
    assert "1024 in the completion" in bench.messages()["cut"]
    assert list(lowered(bench)) == ["fits"]


async def test_what_memory_gives_lowers_a_bound_and_the_error_names_it() -> None:
    script = Script().has_memory_for(2_048)
    bench, _ = bench_of([wish("fits", 500, 6_000), wish("cut", 3_000, 6_000)], script)
    assert await bench.work()
    assert bench.outcomes() == {"fits": "yes", "cut": "context_length_exceeded"}
    assert bench.messages()["cut"].endswith(f"bounded by {MEMORY}.")
    assert bench.batch.journal.progress().faults == {Category.OOM: 1}
    assert list(lowered(bench)) == ["fits"]


async def test_the_models_own_maximum_lowers_a_bound_and_the_error_names_it() -> None:
    script = Script().has_windows(2_048).has_model_maximum(2_048)
    bench, _ = bench_of([wish("fits", 500, 128_000), wish("cut", 3_000, 6_000)], script)
    assert await bench.work()
    assert bench.outcomes() == {"fits": "yes", "cut": "context_length_exceeded"}
    assert bench.messages()["cut"].endswith(f"bounded by {MODEL}.")
    assert list(lowered(bench)) == ["fits"]


async def test_a_bound_that_a_larger_window_holds_is_not_lowered_by_a_small_one() -> None:
    """Its prompt is longer than estimated: the answer goes on in a larger window, whole."""
    cut = answer("half", 900, 124, "length")
    bench = Bench([chat("a", bound=900)], Script().answers("a", cut, answer("whole", 900, 800)), rules=RULES)
    assert await bench.work()
    assert bench.outcomes() == {"a": "whole"}
    assert lowered(bench) == {}


@pytest.mark.parametrize("fault", [crash(), hung()])
async def test_lines_that_wait_for_a_larger_window_are_last_whatever_happens_before(fault: Played) -> None:
    """A death in the middle is no reason to give all that is left the larger window."""
    script = Script().answers("s3", fault, answer("5"))
    script.answers("long", overflow(1_480, 1_024), answer("5"))
    long = chat("long", text="word " * 500)
    bench = Bench([long, *(chat(f"s{number}") for number in range(40))], script, slots=1)
    assert await bench.work()
    assert bench.batch.journal.progress().completed == 41
    assert [load.window_tokens for load in bench.model.loads][-1] == 1_536
    assert {load.window_tokens for load in bench.model.loads[:-1]} == {1_024}
    assert bench.model.sent[-1] == "long"


@pytest.mark.parametrize("first", [0, 1])
async def test_a_bound_above_both_windows_runs_at_the_server_that_has_the_larger_one(first: int) -> None:
    """Two servers with windows of their own, which nobody can change."""
    rooms = [
        Room(Script().has_windows(size), name, number)
        for number, (name, size) in enumerate([("one", 4_096), ("two", LARGEST)][:: 1 if first == 0 else -1])
    ]
    bench = Bench([wish(f"b{number}", 5_000, 128_000) for number in range(6)], models=rooms, rules=RULES)
    assert await bench.work()
    assert set(bench.outcomes().values()) == {"yes"}
    assert {left > 4_096 for left in lowered(bench).values()} == {True}


async def test_naive_order_has_the_same_loads() -> None:
    lines = [wish("big", 3_000, 128_000), *small(70)]
    batch = made_batch(lines, strategy=Strategy.NAIVE, window_tokens_max=LARGEST)
    room = Room()
    bench = Bench([], batch=batch, models=[room], rules=RULES)
    assert await bench.work()
    assert [load.window_tokens for load in room.loads] == [1_024, LARGEST]
    assert set(bench.outcomes().values()) == {"yes"}


async def test_a_conversation_goes_on_beside_a_bound_above_the_window() -> None:
    """What was said before it is read, and what comes after reads it."""
    lines = [wish(f"t{number}", 5, 128_000 if number == 2 else 16) for number in range(5)]
    batch = made_batch(lines, strategy=Strategy.CONVERSATION, window_tokens_max=LARGEST)
    heard: dict[str, int] = {}

    class Listener(Room):
        async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
            heard[request.custom_id] = len(request.messages)
            return await super().answer(request, slot, timeout_s)

    rules = Rules(slots=1, window_tokens_max=LARGEST, habits=Habits(margin=1.0))
    bench = Bench([], batch=batch, models=[Listener()], rules=rules)
    assert await bench.work()
    assert set(bench.outcomes().values()) == {"yes"}
    assert heard["t2"] == heard["t1"] + 2 > 2
