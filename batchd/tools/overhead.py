"""Overhead: batchd alone, without a model: the rows of `core/bars` that need none.

SUMMARY
    measure_overhead(settings, scope, on_step)    the rows, each with its range

    The model server is `instant`, which this starts; batchd is the whole daemon, as it is installed. What is
    compared runs in turn, and a ratio is taken between two that lie side by side. Moments are those of the
    server: the first request that came, and the last answer that went out or became durable.

DIAGNOSTICS
    Fatal: BatchdError when a daemon does not do what it should; SpoolError when the disk fails us.
"""

import asyncio
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from batchd.app.collector import calm_collector
from batchd.core.bars import Measured
from batchd.core.comparison import spread
from batchd.core.json import loads
from batchd.core.rules import Rules
from batchd.core.space import Space
from batchd.core.strategy import Strategy
from batchd.daemon.intake import Intake
from batchd.edges import log
from batchd.edges.clock import SystemClock
from batchd.edges.journal import Journal
from batchd.edges.spool import Spool, submit_file
from batchd.errors import BatchdError
from batchd.settings import Settings
from batchd.tools.child import BATCHD, Child
from batchd.tools.instant import Instant, Told
from batchd.tools.loops import measure, read_requests
from batchd.tools.places import temporary
from batchd.tools.scope import INTAKES_MAX, KILL_SHARE, LONG_LINES_MAX, Scope, long_sizes
from batchd.tools.workload import Workload

MODEL = "instant"

#: Of the server that takes its time, and how many requests are with it at one time.
DELAY_S = 0.02
IN_FLIGHT = 16

#: The longest wait for one batch: a hundred requests a second are very slow.
PATIENCE_S = 300.0
SLOWEST_PER_S = 100.0

#: The window of the loops; the instant server takes any.
WINDOW_TOKENS = 4_096

#: A rubric of this length makes a line of some 9 kB, as the headline's are; a short line has 350 bytes.
LONG_TOKENS, SHORT_TOKENS = 2_000, 20

OnStep = Callable[[float, str], None]


def measure_overhead(settings: Settings, scope: Scope, on_step: OnStep) -> list[Measured]:
    """All rows that need no model."""
    log.configure("ERROR", sys.stderr, False)
    calm_collector()  # as in the daemon: intake is measured in this process
    settings = settings.model_copy(
        update={
            "engine": "ollama",
            "ollama": settings.ollama.model_copy(update={"mode": "attach", "hosts": (), "gpus": ()}),
            "model": None,
            "pilot": 0,
            "strategy": Strategy.PREFIX,
            "share_card": True,  # nothing of it runs on one
            "profiles": None,
            "reserve_bytes": 0,
        }
    )
    course = _Course(settings, scope, on_step)
    rows = [*course.against_bare(), *course.intake()]
    for lines in scope.sizes:
        rows += course.large(lines)
    rows += course.unshared()
    if recovered := max(long_sizes(scope)):
        rows += course.recovery(recovered)
    on_step(1.0, "done")
    return rows


def _row(name: str, values: Sequence[float], lines: int = 0) -> Measured:
    told = spread(values)
    return Measured(name, told.median, told.low, told.high, lines)


class _Course:
    """One table under way."""

    def __init__(self, settings: Settings, scope: Scope, on_step: OnStep) -> None:
        self._settings = settings
        self._scope = scope
        self._on_step = on_step

    def against_bare(self) -> list[Measured]:
        """The daemon, the daemon with a slow disk, and the loop twice, in turn."""
        ratios: dict[str, list[float]] = {"delayed": [], "slow_disk": [], "control": []}
        scope = self._scope
        with temporary() as place, Instant(MODEL, DELAY_S) as server:
            batch = Workload(scope.requests, 8, LONG_TOKENS).write(place / "work.jsonl", MODEL, 1)
            for turn in range(scope.rounds):
                self._on_step(
                    0.3 * turn / scope.rounds, f"against a bare loop, round {turn + 1} of {scope.rounds}"
                )
                bare = self._looped(server, batch)
                daemon = self._served(server, batch, place / f"{turn}a", BATCHD)
                slow = self._served(server, batch, place / f"{turn}b", ("batchd.tools.slow_disk",))
                again = self._looped(server, batch)
                # The daemons lie between the two loops, so both are held against their mean.
                ratios["delayed"].append(2 * daemon / (bare + again))
                ratios["slow_disk"].append(2 * slow / (bare + again))
                ratios["control"].append(again / bare)
        off = abs(median(ratios["control"]) - 1)
        control = Measured("control", off, lines=scope.requests)
        return [*(_row(name, ratios[name], scope.requests) for name in ("delayed", "slow_disk")), control]

    def intake(self) -> list[Measured]:
        """From a file in the inbox to an accepted batch, without anything else at work."""
        self._on_step(0.3, "intake")
        scope = self._scope
        long = Workload(scope.intake_lines, 1, LONG_TOKENS)
        short = Workload(scope.short_lines, 1, SHORT_TOKENS)
        speeds, rates = [], []
        for _ in range(min(scope.rounds, INTAKES_MAX)):
            size_bytes, took_s = _taken_in(long)
            speeds.append(size_bytes / 1e6 / took_s)
            rates.append(scope.short_lines / _taken_in(short)[1])
        return [_row("intake", speeds, scope.intake_lines), _row("short_lines", rates, scope.short_lines)]

    def large(self, lines: int) -> list[Measured]:
        """One large batch from file to results, against a server that answers at once."""
        self._on_step(0.5, f"{lines:,} lines from file to results")
        is_short = lines > LONG_LINES_MAX
        with temporary() as place, Instant(MODEL) as server:
            work = Workload(lines, 8, SHORT_TOKENS if is_short else LONG_TOKENS)
            batch = work.write(place / "work.jsonl", MODEL, 1)
            told, peak_bytes, publish_s, rate = self._run(server, batch, place / "run", lines)
        _check(told, lines)
        memory = Measured("memory_million" if is_short else "memory", peak_bytes / 1e6, lines=lines)
        if is_short:
            return [memory]
        return [
            Measured("at_once", rate, lines=lines),
            memory,
            Measured("publish", publish_s, lines=lines),
        ]

    def unshared(self) -> list[Measured]:
        """The same when no two prompts begin alike: memory of the intake, which is what groups cost."""
        lines = self._scope.unshared_lines
        self._on_step(0.8, f"{lines:,} lines that share nothing")
        with temporary() as place, Instant(MODEL) as server:
            batch = Workload(lines, lines, LONG_TOKENS).write(place / "work.jsonl", MODEL, 1)
            _, peak_bytes, _, _ = self._run(server, batch, place / "run", lines)
        return [Measured("memory_unshared", peak_bytes / 1e6, lines=lines)]

    def recovery(self, lines: int) -> list[Measured]:
        """Killed in the middle, again and again: from the start of the next process to a new request."""
        self._on_step(0.9, f"kill -9, {lines:,} lines")
        took_s = []
        with temporary() as place, Instant(MODEL) as server:
            batch = Workload(lines, 8, LONG_TOKENS).write(place / "work.jsonl", MODEL, 1)
            child = Child(place / "run", self._at(server))
            try:
                child.start()
                child.submit(batch, {})
                some = max(IN_FLIGHT, int(lines * KILL_SHARE))
                for _ in range(self._scope.kills):
                    server.reset()
                    child.wait_until(lambda: server.told().answered >= some, _limit_s(lines))
                    child.kill()
                    server.reset()
                    began = time.perf_counter()
                    child.start()
                    # The first is the canary of the load.
                    child.wait_until(lambda: server.told().requests >= 2, _limit_s(lines))
                    took_s.append(server.told().first[1] - began)
            finally:
                child.kill()
        return [_row("recovery", took_s, lines)]

    def _at(self, server: Instant) -> Settings:
        ollama = self._settings.ollama.model_copy(update={"host": server.address})
        return self._settings.model_copy(update={"ollama": ollama, "slots": IN_FLIGHT})

    def _looped(self, server: Instant, batch: Path) -> float:
        """Requests a second of the loop."""
        server.reset()
        requests = read_requests(batch)
        asyncio.run(measure(self._at(server), requests, IN_FLIGHT, WINDOW_TOKENS))
        told = server.told()
        return told.answered / (told.last_at - told.first[0])

    def _served(self, server: Instant, batch: Path, place: Path, program: Sequence[str]) -> float:
        """Requests a second of the daemon."""
        server.reset()
        return self._run(server, batch, place, self._scope.requests, program)[3]

    def _run(
        self, server: Instant, batch: Path, place: Path, lines: int, program: Sequence[str] = BATCHD
    ) -> tuple[Told, int, float, float]:
        """One batch: what the server saw, memory, seconds to publish, durable requests a second."""
        with Child(place, self._at(server), program) as child:
            batch_id = child.submit(batch, {})
            result = child.result(batch_id, _limit_s(lines))
            out_at = time.perf_counter()
            metrics: Any = loads((result / "metrics.json").read_bytes())
        # All that was answered was durable when the results were begun.
        durable_at = metrics["time"]["finished_at"] - (SystemClock().now() - time.perf_counter())
        told = server.told()
        began = told.first[told.requests - lines]  # after the canary
        rate = lines / (max(told.last_at, durable_at) - began)
        return told, child.peak_bytes, out_at - durable_at, rate


def _check(told: Told, lines: int) -> None:
    if told.unknown or told.answered < lines:
        raise BatchdError(
            f"The instant server answered {told.answered:,} of {lines:,}; strange calls: {told.unknown}.",
            "This is a bug of the measurement; please report it.",
        )


def _limit_s(lines: int) -> float:
    return PATIENCE_S + lines / SLOWEST_PER_S


def _taken_in(work: Workload) -> tuple[int, float]:
    """Bytes of the file, and the seconds from its claim to the accepted batch."""
    with temporary() as place:
        batch = work.write(place / "work.jsonl", MODEL, 1)
        spool = Spool.open(place / "spool")
        try:
            space = Space(spool.disk_bytes(), 0)
            rules = Rules(slots=IN_FLIGHT, settle_s=0.0)
            intake = Intake(spool, SystemClock(), rules, space, Journal.create, _new_id)
            submit_file(place / "spool", batch, batch.name, None)
            began = time.perf_counter()
            accepted = [intake.accept(batch_id) for _ in range(2) for batch_id in intake.sweep(1)]
            took_s = time.perf_counter() - began
            if len(accepted) != 1 or accepted[0] is None:
                raise BatchdError("The file was not taken in.", "This is a bug of the measurement.")
            accepted[0].journal.close()
            accepted[0].input.close()
        finally:
            spool.close()
        return batch.stat().st_size, took_s


def _new_id() -> str:
    return f"batch_{secrets.token_hex(16)}"
