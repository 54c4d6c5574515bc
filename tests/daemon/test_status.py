"""The status board: what is shown, how often it is logged, and a disk that is full."""

import threading

import pytest

from batchd.core.pause import Cause, Pause
from batchd.core.record import NO_PROGRESS, Outcome, Progress, Spent
from batchd.core.settle import Kind, Seen
from batchd.core.status import UNCLAIMABLE_MAX, BatchStatus, ModelStatus, StatusReport, parse
from batchd.core.waiting import Waiting
from batchd.daemon.status import LOG_INTERVAL_S, LOG_REQUESTS, StatusBoard
from batchd.errors import SpoolError
from tests.fakes.fake_clock import FakeClock
from tests.fakes.memory_spool import MemorySpool
from tests.fakes.silent_service import SilentService

ID = f"batch_{1:032x}"
MODEL = ModelStatus("ollama", "http://127.0.0.1:11434", "resident", "m", 1_024, 4)


class World:
    def __init__(self, spool: MemorySpool | None = None) -> None:
        self.spool = spool or MemorySpool()
        self.service = SilentService()
        self.clock = FakeClock()
        self.unclaimable: list[Seen] = []
        self.waiting: list[Waiting] = []
        self.notice = ""
        self.servers = [MODEL]
        self.board = StatusBoard(
            self.spool,
            self.service,
            self.clock,
            42,
            lambda: self.servers,
            lambda: self.unclaimable,
            waiting=lambda: self.waiting,
            notice=lambda: self.notice,
        )

    def enter(self, total: int, status: str = "in_progress") -> None:
        self.board.enter(ID, "reviews.jsonl", status, Progress(total, 0, 0, NO_PROGRESS.spent, {}, 0.0))

    def done(self, count: int, is_error: bool = False) -> None:
        spent = Spent(prompt_tokens=100, completion_tokens=10, cached_tokens=90)
        for index in range(count):
            self.board.durable(ID, Outcome(index, b"{}", is_error, spent=spent))

    def look(self) -> StatusReport:
        """A tick, and its status on the disk."""
        report = self.board.tick()
        self.board.write(report)
        return report

    def tick(self, after_s: float = 1.0) -> BatchStatus:
        self.clock._move_to(self.clock.monotonic() + after_s)
        return self.look().batches[0]


def progress_lines(said: list[str]) -> list[str]:
    return [line for line in said if f"{ID} " in line and "done" in line]


class HangingSpool(MemorySpool):
    """Takes a status when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let, self.begun = threading.Event(), 0

    def write_status(self, content: bytes) -> None:
        self.begun += 1
        assert self.let.wait(60)
        super().write_status(content)


async def test_a_disk_that_hangs_over_the_status_holds_up_no_tick() -> None:
    spool = HangingSpool()
    world = World(spool)
    for state in ("starting", "ready", "draining"):
        world.board.state = state
        world.board.show(world.board.tick())
    assert world.service.pings == 3
    spool.let.set()
    await world.board.settle()
    assert (spool.begun, parse(spool.status).state) == (1, "starting"), "the later ones were left out"
    world.board.show(world.board.tick())
    await world.board.settle()
    assert parse(spool.status).state == "draining"


def test_a_tick_writes_the_status_and_tells_the_service_manager() -> None:
    world = World()
    world.board.state = "ready"
    report = world.look()
    assert parse(world.spool.status) == report
    assert (report.pid, report.state, report.model) == (42, "ready", MODEL)
    assert (world.service.pings, world.service.lines) == (1, ["idle"])


def test_a_card_counts_what_became_durable() -> None:
    world = World()
    world.enter(10)
    world.done(3)
    world.done(1, is_error=True)
    shown = world.tick()
    assert (shown.total, shown.completed, shown.failed, shown.status) == (10, 3, 1, "in_progress")
    assert (shown.cached_share, shown.is_cached_estimated) == (0.9, False)
    assert world.board.progress_of(ID).completed == 3


def test_where_nobody_tells_what_was_cached_the_status_does_not_either() -> None:
    world = World()
    world.enter(10)
    world.board.durable(ID, Outcome(0, b"{}", False, spent=Spent(prompt_tokens=100, unknown_answers=1)))
    assert world.tick().cached_share is None


def test_rates_and_the_time_left_come_from_what_was_measured() -> None:
    world = World()
    world.enter(100)
    first = world.tick()
    assert (first.requests_per_s, first.eta_s) == (None, None)
    world.done(20)
    second = world.tick(after_s=10.0)
    assert second.requests_per_s == pytest.approx(2.0)
    assert second.tokens_per_s == pytest.approx(220.0)
    assert second.eta_s == pytest.approx(40.0)


def test_there_is_no_time_left_to_tell_while_nothing_moves() -> None:
    world = World()
    world.enter(100)
    world.tick()
    assert world.tick(after_s=10.0).eta_s is None


def test_progress_is_logged_when_both_the_requests_and_the_time_have_passed(said: list[str]) -> None:
    world = World()
    world.enter(1_000)
    world.done(LOG_REQUESTS)
    world.tick(after_s=LOG_INTERVAL_S - 1.0)
    assert progress_lines(said) == []
    world.tick(after_s=1.0)
    assert len(progress_lines(said)) == 1
    assert f"{LOG_REQUESTS} of 1000 done, 0 failed" in progress_lines(said)[0]
    world.done(LOG_REQUESTS - 1)
    world.tick(after_s=10 * LOG_INTERVAL_S)
    assert len(progress_lines(said)) == 1
    world.done(1)
    world.tick()
    assert len(progress_lines(said)) == 2


def test_what_was_done_before_a_restart_is_not_logged_as_progress(said: list[str]) -> None:
    world = World()
    world.board.enter(ID, "a", "in_progress", Progress(1_000, 500, 0, NO_PROGRESS.spent, {}, 0.0))
    world.tick(after_s=2 * LOG_INTERVAL_S)
    assert progress_lines(said) == []


def test_a_batch_keeps_its_card_when_its_status_changes_and_loses_it_when_it_leaves() -> None:
    world = World()
    world.enter(4, "validating")
    world.tick()
    world.enter(4, "in_progress")
    world.done(4)
    assert world.tick().requests_per_s is not None
    world.board.leave(ID)
    world.board.leave(ID)
    assert world.board.report().batches == ()


def test_a_paused_batch_has_its_reason_no_rates_and_what_to_type_in_the_log(said: list[str]) -> None:
    world = World()
    world.enter(100)
    world.tick()
    world.done(10)
    world.tick()
    world.board.pause(ID, Pause(Cause.PILOT, "all is empty", 1.0))
    shown = [world.tick(), world.tick()][-1]
    assert (shown.is_paused, shown.detail, shown.completed) == (True, "all is empty", 10)
    assert (shown.requests_per_s, shown.tokens_per_s, shown.eta_s) == (None, None, None)
    assert any(line.startswith("WARNING") and f"batchd resume {ID[:18]}" in line for line in said)
    world.board.pause(ID, None)
    shown = world.tick()
    assert (shown.is_paused, shown.detail) == (False, "")
    assert any("goes on" in line for line in said)


def test_in_a_foreground_run_the_command_to_type_is_left_to_the_run(said: list[str]) -> None:
    world = World()
    world.board._waits_for_operator = False
    world.enter(100)
    world.board.pause(ID, Pause(Cause.ASKED, "asked", 1.0))
    assert not any("batchd resume" in line for line in said)


def test_the_estimate_of_a_pilot_stays_on_the_card() -> None:
    world = World()
    world.enter(100)
    world.board.estimate(ID, "pilot of 20: 0 bad")
    world.enter(100, "finalizing")
    assert world.tick().estimate == "pilot of 20: 0 bad"


def test_names_of_submitters_are_made_printable() -> None:
    world = World()
    world.board.enter(ID, "a\x1b[31m\nb.jsonl", "validating", NO_PROGRESS)
    world.unclaimable = [Seen(b"\xff\n.jsonl", Kind.UNCLAIMABLE, (0, 0, 0, 0, 0), "it is a link")]
    report = world.look()
    shown = report.batches[0].name + report.unclaimable[0].name
    assert shown.isprintable()
    assert report.unclaimable[0].reason == "it is a link"
    assert parse(world.spool.status).unclaimable == report.unclaimable


def test_a_million_names_that_cannot_be_claimed_cost_a_tick_no_more_than_a_few() -> None:
    world = World()
    one = Seen(b"a.jsonl", Kind.UNCLAIMABLE, (0, 0, 0, 0, 0), "it is a link")
    world.unclaimable = [one] * 1_000_000
    report = world.look()
    assert len(report.unclaimable) == UNCLAIMABLE_MAX
    assert report.unclaimable_more == 1_000_000 - UNCLAIMABLE_MAX
    assert parse(world.spool.status) == report
    assert "1000000 in the inbox" in world.service.lines[-1]


def test_a_status_that_cannot_be_written_is_said_once_and_again_after_it_went_well(said: list[str]) -> None:
    class Full(MemorySpool):
        is_full = True

        def write_status(self, content: bytes) -> None:
            if self.is_full:
                raise SpoolError("no space left")
            super().write_status(content)

    spool = Full()
    world = World(spool)
    for is_full in (True, True, False, True):
        spool.is_full = is_full
        world.look()
    assert sum("no space left" in line for line in said) == 2
    assert world.service.pings == 4


def test_a_batch_that_is_claimed_is_shown_as_validating_until_it_has_a_card() -> None:
    world = World()
    world.waiting = [Waiting(ID, b"\xff\n.jsonl", reason="no room")]
    [shown] = world.look().batches
    assert (shown.id, shown.status, shown.total, shown.detail) == (ID, "validating", 0, "no room")
    assert shown.name.isprintable()
    world.enter(4, "validating")
    [shown] = world.look().batches
    assert (shown.total, shown.detail) == (4, "")


def test_what_concerns_all_batches_is_logged_once_when_it_comes_and_when_it_goes(said: list[str]) -> None:
    world = World()
    for notice in ("", "short of space: 5 MB", "short of space: 4 MB", "", ""):
        world.notice = notice
        assert world.look().notice == notice
    assert [line.strip() for line in said] == ["WARNING short of space: 5 MB", "INFO the work goes on"]
