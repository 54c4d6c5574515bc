"""Bench: the same work in several cases, on a real model.

SUMMARY
    probed = probe(settings, model, plan)       loads the model once, reads and writes a little
    comparison = compare(settings, probed, plan, on_step)

    Round by round, each case runs once, and every round begins with another case. Each run has an edition of
    the work of its own, so that nothing which a server keeps from an earlier run helps a later one. The cases
    of batchd are whole daemons with a spool of their own; the loops speak through the same edge. Loads of the
    model are in no time.

DIAGNOSTICS
    Fatal: UnavailableError when the model cannot be used; BatchdError when a run does not end as it should.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from batchd.app.engines import ASK_TIMEOUT_S, build_engine, out_of_reach, wait_for
from batchd.core.comparison import CASES, Comparison, Ran
from batchd.core.fault import ModelFault
from batchd.core.fit import window_for
from batchd.core.json import loads
from batchd.core.model import Source
from batchd.core.request import LineLimits
from batchd.core.status import parse
from batchd.core.strategy import Strategy
from batchd.core.survey import Survey
from batchd.edges import log
from batchd.edges.clock import SystemClock
from batchd.errors import BatchdError, SpoolError, UnavailableError
from batchd.settings import Settings
from batchd.tools.child import Child
from batchd.tools.loops import Sent, measure, read_requests
from batchd.tools.places import temporary
from batchd.tools.workload import Workload

#: Bounded so that a first bench on two cores, with a small model, is over within minutes.
LINES = (8, 24)
ROUNDS = 3
GROUPS = 6

#: These cases are batchd with the strategy of that name; the others are loops.
STRATEGIES = frozenset({Strategy.NAIVE, Strategy.PREFIX})

#: What the estimate of the whole is multiplied with before a run counts as stuck; and the least of it.
PATIENCE = 10.0
PATIENCE_S_MIN = 600.0

#: Told how much is done (0 to 1), and what is done now.
OnStep = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    work: Workload = field(default_factory=lambda: Workload(LINES[-1], GROUPS))
    sizes: Sequence[int] = LINES
    cases: Sequence[str] = tuple(CASES)
    rounds: int = ROUNDS


@dataclass(frozen=True, slots=True)
class Probed:
    """The engine, as one look found it. Rates are those of one slot; `window_tokens` holds every request."""

    model: str
    digest: str
    engine: str
    version: str
    mode: str
    slots: int
    owns_slots: bool
    window_tokens: int
    read_tokens_per_s: float
    write_tokens_per_s: float
    prompt_tokens: int  # of one request
    around_s: float  # what a run takes besides its requests: start, load, end
    source: str = Source.ENGINE.value  # of what was read; unknown: the rate is the least that it may be
    prompt_cache_mib: int | None = None  # of the server, for prompts that a slot gave up; None: not told

    def seconds(self, plan: Plan) -> tuple[float, float]:
        """How long all of it will take: where slots share what the device can do, and where they do not.

        A case that finds every beginning in its slot takes a fraction of it, so the truth is below the first.
        """
        read_s = self.prompt_tokens / self.read_tokens_per_s
        write_s = plan.work.answer_tokens / self.write_tokens_per_s
        requests = sum(plan.sizes) * plan.rounds * len(plan.cases)
        around_s = self.around_s * plan.rounds * len(plan.cases) * len(plan.sizes)
        work_s = requests * (read_s + write_s)
        return work_s + around_s, work_s / self.slots + around_s


def on_one_server(settings: Settings) -> Settings:
    """Of several servers the first: the loops of the other cases speak to one."""
    ollama = settings.ollama
    update: dict[str, object] = {"hosts": (), "gpus": ollama.gpus[:1]}
    if ollama.hosts:
        update["host"] = ollama.hosts[0]
    return settings.model_copy(update={"ollama": ollama.model_copy(update=update)})


def probe(settings: Settings, model: str, plan: Plan) -> Probed:
    """One load, two answers: what is there, and how fast it is."""
    log.configure("ERROR", sys.stderr, False)
    with temporary() as place:
        batch = replace(plan.work, lines=max(plan.sizes)).write(place / "work.jsonl", model, 0)
        window_tokens = _window(settings, batch)
        return asyncio.run(_probed(_inside(settings, place), model, batch, window_tokens))


def compare(settings: Settings, probed: Probed, plan: Plan, on_step: OnStep) -> Comparison:
    """All runs, one after the other. The model server has nothing else to do meanwhile, or so we hope."""
    runs: list[Ran] = []
    whole = sum(plan.sizes) * plan.rounds * len(plan.cases)
    done, edition = 0, 1
    limit_s = max(PATIENCE_S_MIN, probed.seconds(plan)[0] * PATIENCE)
    for lines in plan.sizes:
        for turn in range(plan.rounds):
            for case in _in_turn(plan.cases, turn):
                said = f"{case}, {lines:,} lines, round {turn + 1} of {plan.rounds}"
                tell = partial(_tell, on_step, said, done, whole)
                tell(0)
                run = _Run(settings, probed, replace(plan.work, lines=lines), edition, limit_s)
                runs.append(run.run(case, turn, tell))
                done, edition = done + lines, edition + 1
    on_step(1.0, "done")
    return Comparison(runs)


def _tell(on_step: OnStep, said: str, done: int, whole: int, answers: int) -> None:
    """So many answers of this run, on top of what was done before it."""
    on_step((done + answers) / whole, said)


def _in_turn(cases: Sequence[str], turn: int) -> list[str]:
    """Another case begins in each round: what drifts, drifts for all."""
    at = turn % len(cases)
    return [*cases[at:], *cases[:at]]


async def _probed(settings: Settings, model: str, batch: Path, window_tokens: int) -> Probed:
    engine = await build_engine(settings, SystemClock())
    try:
        [described] = await wait_for([engine], SystemClock())
        digests = await engine.server.digests([model], ASK_TIMEOUT_S)
        if isinstance(digests, ModelFault):
            raise out_of_reach(engine, digests)
        if model not in digests:
            raise UnavailableError(
                f"The server does not have the model '{model}'.", "Get it, or name one that is there."
            )
    finally:
        await engine.server.close()
    began = SystemClock().monotonic()
    sent = await measure(settings, read_requests(batch)[:2], 1, window_tokens)
    around_s = SystemClock().monotonic() - began - sent.duration_s
    return Probed(
        model=model,
        digest=digests[model],
        engine=described.engine,
        version=described.version,
        mode=described.mode,
        slots=engine.limits.slots,
        owns_slots=engine.limits.owns_slots,
        window_tokens=window_tokens,
        read_tokens_per_s=_rate(_read_least(sent), sent.prefill_s, sent),
        source=sent.source,
        write_tokens_per_s=_rate(sent.completion_tokens, sent.decode_s, sent),
        prompt_tokens=sent.prompt_tokens // max(sent.answered, 1),
        around_s=around_s,
        prompt_cache_mib=engine.prompt_cache_mib,
    )


def _read_least(sent: Sent) -> int:
    """Where the server does not tell: of two requests in one slot the first was read whole."""
    return sent.prompt_tokens // 2 if sent.evaluated_tokens is None else sent.evaluated_tokens


def _rate(tokens: int, seconds: float, sent: Sent) -> float:
    """A server that tells no durations is timed as a whole."""
    return max(tokens, 1) / (seconds or sent.duration_s or 1.0)


class _Run:
    """One run of one case, in a directory of its own that is gone afterwards."""

    def __init__(
        self, settings: Settings, probed: Probed, work: Workload, edition: int, limit_s: float
    ) -> None:
        self._settings = settings
        self._probed = probed
        self._work = work
        self._edition = edition
        self._limit_s = limit_s

    def run(self, case: str, turn: int, on_answer: Callable[[int], None]) -> Ran:
        with temporary() as place:
            batch = self._work.write(place / "work.jsonl", self._probed.model, self._edition)
            if case in STRATEGIES:
                return self._daemon(case, turn, place, batch, on_answer)
            return self._loop(case, turn, place, batch, on_answer)

    def _loop(self, case: str, turn: int, place: Path, batch: Path, on_answer: Callable[[int], None]) -> Ran:
        requests = read_requests(batch)
        slots = 1 if case == "keep-alive" else self._probed.slots
        if case == "bare":
            requests.sort(key=lambda request: request.messages[0].text)
        settings = _inside(self._settings, place)
        # An own server has the slots that the case wants; of another one only so many are used.
        settings = settings.model_copy(update={"slots": slots if self._probed.owns_slots else settings.slots})
        sent = asyncio.run(measure(settings, requests, slots, self._probed.window_tokens, on_answer))
        return Ran(
            case=case,
            lines=self._work.lines,
            round=turn,
            duration_s=sent.duration_s,
            answered=sent.answered,
            prompt_tokens=sent.prompt_tokens,
            evaluated_tokens=sent.evaluated_tokens,
            ideal_tokens=None,
            source=sent.source,
            client_bytes=None,
            server_bytes=sent.server_bytes or None,
        )

    def _daemon(
        self, case: str, turn: int, place: Path, batch: Path, on_answer: Callable[[int], None]
    ) -> Ran:
        settings = self._settings.model_copy(
            update={"slots": self._probed.slots, "profiles": place / "profiles"}
        )
        options = {"strategy": case, "pilot": 0}  # whatever the operator's settings say
        with Child(place, settings) as child:
            batch_id = child.submit(batch, options)
            child.wait_until(
                lambda: _told(child.spool, on_answer) or _is_out(child.spool, batch_id), self._limit_s
            )
            result = child.result(batch_id, self._limit_s)
            metrics: Any = loads((result / "metrics.json").read_bytes())
            answers, tokens, time = metrics["answers"], metrics["tokens"], metrics["time"]
            if answers["failed"]:
                raise BatchdError(
                    f"{answers['failed']} of {self._work.lines} requests failed in the case {case}.",
                    "Look at this model with `batchd doctor` first.",
                )
            return Ran(
                case=case,
                lines=self._work.lines,
                round=turn,
                duration_s=max(time["wall_s"] - time["load_s"], 1e-6),
                answered=answers["completed"],
                prompt_tokens=tokens["prompt"]["value"],
                evaluated_tokens=tokens["evaluated"]["value"],
                ideal_tokens=round(tokens["ideal"]["value"]),
                source=tokens["evaluated"]["source"],
                client_bytes=child.peak_bytes or None,
                server_bytes=child.server_bytes or None,
            )


def _told(spool: Path, on_answer: Callable[[int], None]) -> bool:
    """Tell how many answers there are, as the daemon says it; never enough to end the wait."""
    with suppress(FileNotFoundError, SpoolError):  # before its first tick
        on_answer(
            sum(
                batch.completed + batch.failed
                for batch in parse((spool / "status.json").read_bytes()).batches
            )
        )
    return False


def _is_out(spool: Path, batch_id: str) -> bool:
    return any((spool / "outbox").glob(f"*.{batch_id}"))


def _window(settings: Settings, batch: Path) -> int:
    """What batchd itself would ask for."""
    with batch.open("rb") as file, batch.open("rb") as again:
        most = settings.window_tokens_max
        survey = Survey(file, again, LineLimits(), False, None, window_tokens_max=most)
        assert not any(survey), "the workload has only good lines"
        return window_for((group.window_tokens for group in survey.groups()), most)


def _inside(settings: Settings, place: Path) -> Settings:
    """What an engine writes goes where the run is."""
    return settings.model_copy(update={"spool": place / "spool"})
