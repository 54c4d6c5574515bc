"""The sender alone: how long it waits, and what it makes of the answer."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from batchd.core.request import Request
from batchd.core.rules import Rules
from batchd.daemon.conversation import Conversation
from batchd.daemon.ledger import Ledger
from batchd.daemon.section import Section
from batchd.daemon.sender import Sender
from tests.daemon.test_section import section
from tests.fakes.fake_clock import FakeClock
from tests.fakes.made_batch import chat, made_batch
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.scripted_model import Played, Script, ScriptedModel, answer, crash, loaded, overflow


class TimedModel(ScriptedModel):
    """Keeps the limit of each request."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.limits_s: list[float] = []

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
        self.limits_s.append(timeout_s)
        return await super().answer(request, slot, timeout_s)


class Post:
    def __init__(
        self, count: int, script: Script | None = None, kind: Callable[[Script], TimedModel] = TimedModel
    ) -> None:
        self.batch = made_batch([chat(f"r{n}") for n in range(count)])
        self.model = kind(script or Script())
        self.section: Section = section(count)
        rules = Rules(slots=1, request_timeout_s=300.0)
        clock = FakeClock()
        self.lines = Conversation(self.batch, rules, clock)
        ledger = Ledger(self.batch, MemorySpool(), lambda outcome: None)
        ledger.follow(self.batch.journal.plan())
        self.sender = Sender(self.batch, self.model, clock, rules, self.lines, ledger)
        self.loaded = loaded(self.section.load)
        self.sender.begin(self.loaded, self.section.load.window_tokens)

    async def send(self, index: int) -> None:
        await self.sender.attempt(self.section, self.loaded, await self.lines.fetch(index), 0)


async def test_the_operators_limit_holds_until_the_servers_speed_is_known() -> None:
    script = Script()
    for number in range(12):
        script.answers(f"r{number}", answer(prompt=40, completion=40))
    post = Post(12, script)
    for index in range(12):
        await post.send(index)
    assert post.model.limits_s[:8] == [300.0] * 8
    assert post.model.limits_s[-1] == 30.0
    assert len(post.model.cohorts) == 6
    assert repr(post.sender).endswith("ready)")


async def test_another_load_has_a_speed_of_its_own() -> None:
    script = Script()
    for number in range(10):
        script.answers(f"r{number}", answer(prompt=40, completion=40))
    post = Post(10, script)
    for index in range(9):
        await post.send(index)
    post.sender.begin(loaded(post.section.load, 9_999), 1_024)
    await post.send(9)
    assert post.model.limits_s[-2:] == [30.0, 300.0]


async def test_the_same_load_after_a_restart_is_as_fast() -> None:
    """What hung is not given the operator's limit again, because of a restart."""
    script = Script()
    for number in range(10):
        script.answers(f"r{number}", answer(prompt=40, completion=40))
    post = Post(10, script)
    for index in range(9):
        await post.send(index)
    post.sender.begin(replace(post.loaded, load_s=7.0), 1_024)
    await post.send(9)
    assert post.model.limits_s[-2:] == [30.0, 30.0]


async def test_a_death_closes_the_sender_until_the_model_is_asked_for_again() -> None:
    post = Post(1, Script().answers("r0", crash()))
    await post.send(0)
    assert post.sender.lost.is_set()
    assert list(post.section.suspects) == [0]
    post.sender.forget_loss()
    assert not post.sender.lost.is_set()


async def test_a_cohort_that_changes_the_chunk_turns_the_lanes_and_a_trial_does_not() -> None:
    post = Post(4)
    post.model.has_more = True
    with post.sender.trial(is_alone=False):
        await post.send(0)
        await post.send(1)
    assert not post.sender.turn.is_set()
    await post.send(2)
    await post.send(3)
    assert post.sender.turn.is_set()


async def test_what_will_not_fit_is_not_sent_to_be_refused() -> None:
    """The first is refused and says how long it is; the like ones after it wait for the larger window."""
    script = Script().answers("r0", overflow(2_000, 1_024)).counts("r2", 10)
    post = Post(3, script)
    for index in range(3):
        await post.send(index)
    assert post.model.sent == ["r0", "r2"]  # of r2 the server's own tokenizer says that it fits
    assert post.section.too_long == [0, 1]
    assert 2_000 < post.section.window_needed <= 2_560
    assert post.model.counted == ["r1", "r2"]


async def test_a_window_that_was_given_once_is_not_waited_for_again() -> None:
    post = Post(2, Script().answers("r0", overflow(2_000, 1_024)))
    await post.send(0)
    post.sender.begin(post.loaded, 4_096)
    await post.send(1)
    assert post.model.sent == ["r0", "r1"]


class CountingModel(TimedModel):
    """Never says how long a request is."""

    async def count_tokens(self, request: Request) -> int | None:
        self.counted.append(request.custom_id)
        await asyncio.Event().wait()
        return None


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_line_that_is_called_off_while_its_tokens_are_counted_waits_for_its_turn(
    is_lost: bool,
) -> None:
    """The server did not hold it yet, so it is no suspect either, whatever the others died of."""
    post = Post(2, Script().answers("r0", overflow(2_000, 1_024)), CountingModel)
    await post.send(0)
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(post.send(1))
        while not post.model.counted:  # noqa: ASYNC110 - it needs the turns
            await asyncio.sleep(0)
        if is_lost:
            post.sender._lose(post.section, crash())
        sending.cancel()
    assert sending.cancelled()
    assert list(post.section.again) == [1]
    assert post.section.suspects.verdict() is None
