"""Conversations: what each request reads, in which order, and that a restart changes nothing of it."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from batchd.core.conversation import exchange_tokens, segment_lines
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Source, Usage
from batchd.core.request import Request
from batchd.core.rules import Rules
from batchd.core.strategy import Habits, Strategy
from batchd.core.talk import counts_of
from batchd.core.tokens import MESSAGE_TOKENS, estimate, estimate_message, estimate_request
from batchd.daemon.dispatcher import Dispatcher
from batchd.daemon.ports import Batch
from tests.fakes.fake_clock import FakeClock
from tests.fakes.made_batch import Line, chat, made_batch
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.scripted_model import (
    Played,
    Script,
    ScriptedModel,
    crash,
    hiccup,
    out_of_memory,
    refused,
)

#: So large that no conversation of these tests is trimmed or ended by its size.
ROOMY = Habits(margin=1.0, trim_requests=1_000)

Seen = tuple[str, tuple[tuple[str, str], ...]]


class Talker(ScriptedModel):
    """Answers with what it has heard, so that no two conversations look alike. Counts as it is estimated."""

    def __init__(self, script: Script | None = None, stop_after: int | None = None) -> None:
        super().__init__(script)
        self.seen: list[Seen] = []
        self.busy: defaultdict[int, list[str]] = defaultdict(list)
        self.stopped_at = stop_after
        self.stopped = asyncio.Event()

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
        if self.stopped_at is not None and len(self.seen) == self.stopped_at:
            self.stopped.set()
            await asyncio.sleep(3_600)  # the daemon is killed now
        self.seen.append((request.custom_id, tuple((it.role, it.text) for it in request.messages)))
        self.busy[slot].append(request.custom_id)
        found = await super().answer(request, slot, timeout_s)
        if not isinstance(found, Answer):
            return found
        text = f"{request.custom_id} after {len(request.messages)} messages"
        return Answer(text, None, "stop", Usage(estimate_request(request), 9, 0, Source.ENGINE, 0.01, 0.01))

    def heard(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """By custom_id, what was read at last."""
        return dict(self.seen)


def questions(count: int, system: str = "Judge.", name: str = "r") -> list[Line]:
    return [chat(f"{name}{n}", system=system, text=f"Question {name}{n}.") for n in range(count)]


def batch_of(lines: Sequence[Line | None]) -> Batch:
    return made_batch(lines, strategy=Strategy.CONVERSATION)


def dispatcher(
    batch: Batch, model: ScriptedModel, slots: int = 1, habits: Habits = ROOMY, window_tokens: int = 8_192
) -> Dispatcher:
    rules = Rules(slots=slots, habits=habits, window_tokens_max=window_tokens)
    return Dispatcher(batch, [model], FakeClock(), MemorySpool(), rules, on_durable=lambda outcome: None)


def users(seen: tuple[tuple[str, str], ...]) -> list[str]:
    return [text for role, text in seen if role == "user"]


async def test_each_request_reads_what_was_asked_and_answered_before_it() -> None:
    model = Talker()
    assert await dispatcher(batch_of(questions(4)), model).work()
    assert [custom_id for custom_id, _ in model.seen] == ["r0", "r1", "r2", "r3"]
    assert model.heard()["r2"] == (
        ("system", "Judge."),
        ("user", "Question r0."),
        ("assistant", "r0 after 2 messages"),
        ("user", "Question r1."),
        ("assistant", "r1 after 4 messages"),
        ("user", "Question r2."),
    )


async def test_nobody_reads_what_was_said_under_another_system_prompt() -> None:
    both = zip(questions(5, "Judge.", "a"), questions(5, "Count.", "b"), strict=True)
    model = Talker()
    assert await dispatcher(batch_of([line for pair in both for line in pair]), model, slots=2).work()
    for custom_id, seen in model.seen:
        assert {text[9] for text in users(seen)} == {custom_id[0]}
    assert len(users(model.heard()["b4"])) == 5


async def test_one_segment_is_one_slot_and_segments_run_side_by_side() -> None:
    model = Talker()
    habits = Habits(margin=0.3, trim_requests=1_000)
    assert await dispatcher(batch_of(questions(60)), model, 3, habits, window_tokens=1_024).work()
    assert model.most_in_flight == 3
    starts = [custom_id for custom_id, seen in model.seen if len(seen) == 2]
    assert len(starts) >= 3
    for slot in range(3):
        places = [int(custom_id[1:]) for custom_id in model.busy[slot]]
        runs = [b for a, b in pairwise(places) if b != a + 1]
        assert {f"r{place}" for place in runs} <= set(starts)


async def test_a_segment_holds_what_the_formula_says() -> None:
    model, batch = Talker(), batch_of(questions(200))
    habits = Habits(margin=0.8, trim_requests=1_000)
    assert await dispatcher(batch, model, habits=habits, window_tokens=2_048).work()
    starts = [int(custom_id[1:]) for custom_id, seen in model.seen if len(seen) == 2]
    sizes = [b - a for a, b in pairwise(starts)]
    [group] = batch.journal.plan().groups
    samples: Any = []
    # Before anything was measured: question and bound as estimated.
    estimated = exchange_tokens(samples, group.window_tokens - group.prefix_tokens + MESSAGE_TOKENS)
    assert sizes[0] == segment_lines(2_048, group.prefix_tokens, estimated, 0.8)
    # Then as measured: the question as it was estimated, the marks around the answer, its 9 tokens.
    measured = estimate_message("Question r100.") + MESSAGE_TOKENS + 9
    assert sizes[1:3] == [segment_lines(2_048, group.prefix_tokens, measured, 0.8)] * 2
    assert sizes[1] > sizes[0], "answers turned out shorter than their bound"
    assert counts_of(batch.journal.meta())["conversations"] == len(starts)
    assert counts_of(batch.journal.meta())["longest"] == max(sizes)


async def test_a_segment_is_ended_early_when_questions_grow() -> None:
    short, long = questions(60), [chat(f"l{n}", text="A much longer question. " * 12) for n in range(40)]
    habits, model = Habits(margin=0.8, trim_requests=1_000), Talker()
    batch = batch_of([*short, *long])
    assert await dispatcher(batch, model, habits=habits, window_tokens=4_096).work()
    ended = [event for event in batch.journal.events() if event.name == "segment_ended"]
    sizes = [int(event.new) for event in ended]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1
    # The whole of the first segment was in view when it was planned for short questions.
    assert int(ended[0].old) >= sizes[0]
    assert not [event for event in batch.journal.events() if event.name == "conversation_trimmed"]


async def test_after_so_many_requests_the_last_exchanges_are_kept_and_the_rest_goes() -> None:
    model, batch = Talker(), batch_of(questions(12))
    habits = Habits(margin=1.0, kept_exchanges=2, trim_requests=5)
    assert await dispatcher(batch, model, habits=habits).work()
    lengths = [len(users(seen)) for _, seen in model.seen]
    assert lengths == [1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 3, 4]
    assert users(model.heard()["r5"]) == ["Question r3.", "Question r4.", "Question r5."]
    told = counts_of(batch.journal.meta())
    assert (told["trims"], told["kept_exchanges"], told["dropped_exchanges"]) == (2, 4, 8)
    trims = [event for event in batch.journal.events() if event.name == "conversation_trimmed"]
    assert [(event.old, event.new) for event in trims] == [("5", "2"), ("7", "2")]
    assert "5 requests since the last trim; 3 exchanges of some" in trims[0].cause


async def test_no_prompt_is_longer_than_what_leaves_room_for_its_answer() -> None:
    model = Talker()
    habits = Habits(margin=1.0, kept_exchanges=6, trim_requests=1_000, trim_share=0.3)
    assert await dispatcher(batch_of(questions(40)), model, habits=habits, window_tokens=4_096).work()
    longest = max(estimate(sum(len(text) for _, text in seen), len(seen)) for _, seen in model.seen)
    allowed = 0.3 * model.loads[0].window_tokens
    assert 0.8 * allowed < longest <= allowed
    assert len({custom_id for custom_id, _ in model.seen}) == 40


async def test_a_request_that_fails_is_left_out_and_the_conversation_goes_on() -> None:
    batch = batch_of(questions(4))
    model = Talker(Script().answers("r1", refused()))
    assert await dispatcher(batch, model).work()
    assert users(model.heard()["r3"]) == ["Question r0.", "Question r2.", "Question r3."]
    assert [is_error for _, is_error, _ in batch.journal.results()] == [False, True, False, False]


async def test_a_request_that_is_tried_again_holds_up_its_own_conversation_only() -> None:
    lines = [*questions(4, "Judge.", "a"), *questions(4, "Count.", "b")]
    model = Talker(Script().answers("a1", hiccup(), hiccup(), answer_played()))
    clock = FakeClock()
    rules = Rules(slots=2, habits=ROOMY)
    found = Dispatcher(batch_of(lines), [model], clock, MemorySpool(), rules, on_durable=lambda outcome: None)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        work = group.create_task(found.work())
        while not work.done():
            await clock.sleep(0.1)  # nobody else moves this clock while a slot waits for its turn
    order = [custom_id for custom_id, _ in model.seen]
    assert [custom_id for custom_id in order if custom_id[0] == "a"] == ["a0", "a1", "a1", "a1", "a2", "a3"]
    assert order.index("b3") < order.index("a2")
    assert len({seen for custom_id, seen in model.seen if custom_id == "a1"}) == 1


def answer_played() -> Answer:
    return Answer("yes", None, "stop", Usage(10, 2, 0, Source.ENGINE, 0.01, 0.01))


async def test_a_request_with_turns_of_its_own_is_sent_as_it_stands_and_read_by_nobody() -> None:
    own: dict[str, Any] = dict(chat("own"))
    turns = [
        {"role": "system", "content": "Judge."},
        {"role": "user", "content": "Earlier."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And now?"},
    ]
    own["body"] = {**own["body"], "messages": turns}
    lines = [*questions(2), own, *questions(3)[2:]]
    model = Talker()
    assert await dispatcher(batch_of(lines), model).work()
    assert len(model.heard()["own"]) == 4
    assert users(model.heard()["r2"]) == ["Question r0.", "Question r1.", "Question r2."]


async def test_out_of_memory_halves_the_segments_and_the_failed_one_begins_anew() -> None:
    batch = batch_of(questions(30))
    model = Talker(Script().answers("r4", out_of_memory(), answer_played()))
    habits = Habits(margin=0.3, trim_requests=1_000)
    assert await dispatcher(batch, model, habits=habits, window_tokens=1_024).work()
    seen = [(custom_id, len(users(messages))) for custom_id, messages in model.seen]
    at = seen.index(("r4", 5))
    assert seen[at + 1] == ("r4", 1), "repeated, with nothing before it"
    [event] = [event for event in batch.journal.events() if event.name == "segment_halved"]
    assert int(event.new) == int(event.old) // 2
    # No conversation after it is longer than half of what was allowed before it.
    assert max(length for _, length in seen[at + 1 :]) <= int(event.new)
    assert counts_of(batch.journal.meta())["halvings"] == 1


async def test_a_prompt_that_the_server_finds_too_long_is_sent_again_without_what_was_said() -> None:
    fault = ModelFault(Category.CONTEXT_LENGTH, "too long", False, prompt_tokens=9_000, window_tokens=8_192)
    batch = batch_of(questions(4))
    model = Talker(Script().answers("r2", fault, answer_played()))
    assert await dispatcher(batch, model).work()
    assert [(it, len(users(seen))) for it, seen in model.seen] == [
        ("r0", 1),
        ("r1", 2),
        ("r2", 3),
        ("r2", 1),
        ("r3", 2),
    ]
    assert counts_of(batch.journal.meta())["dropped_exchanges"] == 2
    assert batch.journal.progress().failed == 0


async def test_a_question_that_waits_for_a_larger_window_holds_up_its_own_conversation_only() -> None:
    lines = [chat("a0", "Judge.", text="Word. " * 500), *questions(6, "Count.", "b")]
    fault = ModelFault(Category.CONTEXT_LENGTH, "too long", False, prompt_tokens=1_480, window_tokens=1_280)
    model = Talker(Script().answers("a0", fault, answer_played()))
    assert await dispatcher(batch_of(lines), model).work()
    assert [custom_id for custom_id, _ in model.seen] == ["a0", *(f"b{n}" for n in range(6)), "a0"]
    assert [load.window_tokens for load in model.loads] == [1_280, 1_536]


async def test_a_death_of_the_server_changes_no_conversation() -> None:
    calm = Talker()
    assert await dispatcher(batch_of(questions(8)), calm, slots=2).work()
    model = Talker(Script().answers("r3", crash(), answer_played()))
    assert await dispatcher(batch_of(questions(8)), model, slots=2).work()
    assert len(users(model.heard()["r7"])) == 8
    assert [users(seen) for _, seen in dict(model.seen).items()] == [users(seen) for _, seen in calm.seen]


HABITS = Habits(margin=0.5, kept_exchanges=3, trim_requests=4, trim_share=0.5)


async def killed(batch: Batch, model: Talker, habits: Habits = HABITS) -> None:
    """A daemon that is gone in the middle of a request."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        work = group.create_task(dispatcher(batch, model, habits=habits, window_tokens=1_024).work())
        await model.stopped.wait()
        work.cancel()


@pytest.mark.parametrize("at", range(1, 40, 3))
async def test_after_a_kill_the_server_sees_what_it_would_have_seen(at: int) -> None:
    lines: list[Line | None] = [*questions(40)]
    calm = Talker(Script().answers("r6", refused()))
    undisturbed = batch_of(lines)
    assert await dispatcher(undisturbed, calm, habits=HABITS, window_tokens=1_024).work()
    batch = batch_of(lines)
    before = Talker(Script().answers("r6", refused()), stop_after=at)
    await killed(batch, before)
    assert len(before.seen) == at
    after = Talker(Script().answers("r6", refused()))
    assert await dispatcher(batch, after, habits=HABITS, window_tokens=1_024).work()
    # What was in flight is asked again.
    assert _last(before.seen + after.seen) == _last(calm.seen)
    assert results(batch) == results(undisturbed)
    assert counts_of(batch.journal.meta()) == counts_of(undisturbed.journal.meta())


def _last(seen: Sequence[Seen]) -> Mapping[str, tuple[tuple[str, str], ...]]:
    return dict(seen)


def results(batch: Batch) -> list[tuple[int, bool, bytes]]:
    return list(batch.journal.results())


async def test_a_conversation_goes_on_at_another_server_when_its_own_dies() -> None:
    batch, script = batch_of(questions(24)), Script().answers("r14", crash(), answer_played())
    talkers = [Talker(script), Talker(script)]
    for number, talker in enumerate(talkers):
        talker.number, talker.name = number, f"http://{number}"
    rules = Rules(slots=1, habits=Habits(margin=0.4, trim_requests=1_000), window_tokens_max=1_024)
    work = Dispatcher(batch, talkers, FakeClock(), MemorySpool(), rules, on_durable=lambda outcome: None)
    assert await work.work()
    assert batch.journal.progress().completed == 24
    assert all(talker.seen for talker in talkers)
    seen = [one for talker in talkers for one in talker.seen]
    for custom_id, messages in seen:
        places = [int(text.removeprefix("Question r").rstrip(".")) for text in users(messages)]
        assert places == list(range(places[0], int(custom_id[1:]) + 1)), "what stands before it, and no other"
    assert sum(len(users(messages)) == 1 for _, messages in seen) >= 2, "several segments"


async def test_a_pilot_and_the_rest_are_the_same_conversations_as_the_whole() -> None:
    calm, model = Talker(), Talker()
    assert await dispatcher(batch_of(questions(20)), calm, slots=1).work()
    piloted = dispatcher(batch_of(questions(20)), model, slots=1)
    assert await piloted.work(range(5))
    assert [custom_id for custom_id, _ in model.seen] == ["r0", "r1", "r2", "r3", "r4"]
    assert await piloted.work()
    assert model.seen == calm.seen


async def test_a_pilot_in_several_slots_leaves_no_line_behind() -> None:
    habits, model = Habits(margin=0.05), Talker()
    batch = batch_of(questions(40))
    piloted = dispatcher(batch, model, 3, habits, window_tokens=1_024)
    assert await piloted.work(range(5))
    assert len(model.seen) == 5
    assert await piloted.work()
    assert batch.journal.progress().completed == 40
    assert len(model.seen) == 40


async def test_a_failure_that_is_tried_again_after_a_restart_reads_only_what_was_before_it() -> None:
    batch = batch_of(questions(12))
    # Nothing has shown yet that it is a single failure, so it is not recorded when the daemon dies.
    broken = ModelFault(Category.SERVER, "broken", is_temporary=False)
    before = Talker(Script().answers("r3", broken), stop_after=8)
    await killed(batch, before, ROOMY)
    after = Talker()
    assert await dispatcher(batch, after, window_tokens=1_024).work()
    assert [custom_id for custom_id, _ in after.seen] == ["r3", *(f"r{n}" for n in range(8, 12))]
    assert users(after.heard()["r3"]) == [f"Question r{n}." for n in range(4)]
    assert users(after.heard()["r9"]) == [f"Question r{n}." for n in range(10)]


async def test_several_requests_of_one_death_halve_once() -> None:
    lines = [*questions(5, "Judge.", "a"), *questions(5, "Count.", "b")]
    batch = batch_of(lines)
    script = Script().answers("a1", out_of_memory(), answer_played())
    model = Talker(script.answers("b1", out_of_memory(), answer_played()))
    assert await dispatcher(batch, model, slots=2).work()
    assert counts_of(batch.journal.meta())["halvings"] == 1
    assert batch.journal.progress().completed == 10


async def test_every_line_has_its_outcome_whatever_the_slots_and_the_groups() -> None:
    for slots in (1, 2, 5):
        lines = [chat(f"g{n}", system=f"Rubric {n % 7}.") for n in range(30)]
        model, batch = Talker(), batch_of(lines)
        assert await dispatcher(batch, model, slots=slots).work()
        assert sorted(custom_id for custom_id, _ in model.seen) == sorted(f"g{n}" for n in range(30))
        assert batch.journal.progress().completed == 30
