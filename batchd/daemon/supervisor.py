"""Supervisor: keeps one model resident in one model server, and ready.

SUMMARY
    absent -> loading -> canary -> ready; suspect after a death; cooling between tries that failed.

    `ensure` walks that line: load with explicit window and slots, then one request with a known shape (the
    canary), because only an answer proves life: a server goes on listing a model whose runner was killed. A
    server that is gone, or that a person must mend, is waited for with backoff, as long as somebody wants it.
    Out of memory at load goes to the governor; where nothing is left to shrink, the load is tried again as it
    was asked for.

DIAGNOSTICS
    Fatal: UnavailableError, in a foreground run only, when a person must mend the set-up.
    Warning: each fault of the server, once per change, with the time of the next try.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from loguru import logger

from batchd.core.fault import Category, ModelFault
from batchd.core.governor import Change, Limits, after_load, after_out_of_memory
from batchd.core.model import Answer, Load, Loaded, ServerDescription
from batchd.core.request import Endpoint, Message, Request
from batchd.core.retry import backoff_s
from batchd.daemon.ports import Clock, ModelServer
from batchd.errors import UnavailableError

#: A load reads the whole model from disk: 40 GB at 200 MB/s. Ollama's own stall limit is five minutes.
LOAD_TIMEOUT_S = 600.0

#: A question about the server itself.
DESCRIBE_TIMEOUT_S = 15.0

#: The canary is a few tokens; a cold CPU needs seconds for them.
CANARY_TIMEOUT_S = 120.0

#: Unloading waits for a hung runner to be killed: five seconds, measured.
RESTART_TIMEOUT_S = 60.0

#: Giving the model back is a courtesy: with the drain it must end before the service manager loses patience.
RELEASE_TIMEOUT_S = 20.0

#: The longest wait between two tries to bring the model back.
COOLING_CAP_S = 30.0

#: A model that refuses its canary for good so often, each time freshly loaded, cannot do this kind of work.
CANARY_REFUSALS_MAX = 3

#: A server's text in the log and the status: enough to know it again.
FAULT_CHARS_MAX = 300

#: A wait looks this often whether it is still wanted.
WANTED_CHECK_S = 0.5


class State(StrEnum):
    """What is true of the model now."""

    ABSENT = "absent"
    LOADING = "loading"
    CANARY = "canary"
    READY = "ready"
    SUSPECT = "suspect"
    COOLING = "cooling"


@dataclass(frozen=True, slots=True)
class Standing:
    """The supervisor's face: what `batchd status` shows of the model."""

    state: State
    detail: str = ""
    loaded: Loaded | None = None
    next_try_at: float | None = None  # seconds since the epoch


@dataclass(slots=True)
class Trouble:
    """What went wrong while one `ensure` waits."""

    tries: int = 0
    refusals: int = 0
    said: str = ""

    def of_canary(self, fault: ModelFault) -> ModelFault:
        """A refused canary says nothing about a request: the model is broken, and may come back; or not."""
        self.refusals += not fault.is_temporary
        return replace(fault, is_temporary=fault.is_temporary or self.refusals < CANARY_REFUSALS_MAX)


class Supervisor:
    """One model server, its limits, and the model in it."""

    def __init__(
        self,
        server: ModelServer,
        clock: Clock,
        limits: Limits,
        on_change: Callable[[Change], None],
        waits_for_operator: bool = True,
    ) -> None:
        self._server = server
        self._clock = clock
        self._given = limits  # by the operator; what was learned is of one model
        self._limits = limits
        self._on_change = on_change
        self._waits_for_operator = waits_for_operator
        self._wanted: Load | None = None
        self._fitted: Load | None = None
        self.description: ServerDescription | None = None
        self.standing = Standing(State.ABSENT)

    def __repr__(self) -> str:
        return f"Supervisor({self.standing.state.value}, {self._wanted})"

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        """One request in one slot."""
        return await self._server.answer(request, slot, timeout_s)

    def suspect(self, fault: ModelFault) -> None:
        """The server died or hangs: the next `ensure` begins with a restart and a canary."""
        if self.standing.state is State.READY:
            logger.bind(event="server_lost").warning(
                "model server lost: {} ({})", fault.category.value, fault.message[:FAULT_CHARS_MAX]
            )
        self.standing = Standing(State.SUSPECT, fault.message[:FAULT_CHARS_MAX])

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        """See `ports.ReadyModel`."""
        trouble = Trouble()
        if self._fitted is not None and self._fitted.model != load.model:
            self._limits, self._fitted = self._given, None
        while is_wanted():
            allowed = self._limits.applied_to(load)
            if self.standing.state is State.READY and self._wanted == allowed:
                return self.standing.loaded
            outcome = await self._bring_up(allowed)
            if isinstance(outcome, ModelFault) and self.standing.state is State.CANARY:
                outcome = trouble.of_canary(outcome)
            if isinstance(outcome, Loaded):
                self._fitted = allowed
                return outcome
            if outcome.needs_operator and not self._waits_for_operator:
                raise unusable(outcome)
            if not outcome.is_temporary and outcome.category is not Category.OOM:
                self.standing = Standing(State.ABSENT, outcome.message[:FAULT_CHARS_MAX])
                return outcome
            if not self._shrink(outcome, allowed, window_tokens_min):
                await self._cool(outcome, trouble, is_wanted)
        return None

    async def release(self) -> None:
        """Put the model out and give the server back the way it was found."""
        if self._wanted is not None:
            await self._server.unload(RELEASE_TIMEOUT_S)
        self._wanted = None
        self.standing = Standing(State.ABSENT)

    async def _bring_up(self, load: Load) -> Loaded | ModelFault:
        if self.standing.state in (State.SUSPECT, State.COOLING):
            fault = await self._server.restart(RESTART_TIMEOUT_S)
            if fault is not None:
                return fault
        self.standing = Standing(State.LOADING, load.model)
        self._wanted = load
        loaded = await self._server.load(load, LOAD_TIMEOUT_S)
        if isinstance(loaded, ModelFault):
            return loaded
        described = await self._server.describe(DESCRIBE_TIMEOUT_S)
        if isinstance(described, ModelFault):
            return described
        self.description = described
        self.standing = Standing(State.CANARY, load.model, loaded)
        answer = await self._server.answer(_canary(load), 0, CANARY_TIMEOUT_S)
        if isinstance(answer, ModelFault):
            return answer
        loaded = replace(loaded, memory_window_tokens_max=self._limits.window_tokens)
        self._on_change(after_load(loaded, described, answer.usage.prompt_tokens))
        self.standing = Standing(State.READY, load.model, loaded)
        logger.bind(event="model_ready").info(
            "model {} ready: window {} tokens, {} slots, loaded in {:.1f} s",
            load.model,
            loaded.window_tokens,
            loaded.slots,
            loaded.load_s,
        )
        return loaded

    def begin_account(self) -> None:
        """A batch begins: its large windows are tried anew."""
        self._limits = replace(self._limits, window_tokens=None)

    def _shrink(self, fault: ModelFault, load: Load, window_tokens_min: int) -> bool:
        if fault.category is not Category.OOM:
            return False
        text = fault.message[:FAULT_CHARS_MAX]
        limits, change = after_out_of_memory(self._limits, load, self._fitted, window_tokens_min, text)
        self._limits = limits if change is not None else self._given
        if change is None:
            return False
        logger.bind(event="governor").warning(
            "{}: {} -> {}, because: {}", change.name, change.old, change.new, change.cause
        )
        self._on_change(change)
        return True

    async def _cool(self, fault: ModelFault, trouble: "Trouble", is_wanted: Callable[[], bool]) -> None:
        wait_s = backoff_s(trouble.tries, 0.5 + self._clock.random() / 2, COOLING_CAP_S)
        text = fault.message[:FAULT_CHARS_MAX]
        if trouble.said != text:
            logger.bind(event="model_waits").warning(
                "model not ready: {}; next try in {:.1f} s", text, wait_s
            )
        trouble.tries, trouble.said = trouble.tries + 1, text
        self.standing = Standing(State.COOLING, text, next_try_at=self._clock.now() + wait_s)
        until = self._clock.monotonic() + wait_s
        while is_wanted() and (left := until - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, WANTED_CHECK_S))


def _canary(load: Load) -> Request:
    """A request whose good answer has a known shape: any text, or one vector."""
    if load.is_embedding:
        return Request("canary", Endpoint.EMBEDDINGS, load.model, (), ("ready?",), {}, 0)
    messages = (Message("user", "Say: ready."),)
    return Request("canary", Endpoint.CHAT, load.model, messages, (), {"temperature": 0}, 1)


def unusable(fault: ModelFault) -> UnavailableError:
    """What a foreground run ends with: nothing is lost, and a person is there to mend it."""
    return UnavailableError(
        f"The model server cannot be used: {fault.message[:FAULT_CHARS_MAX]}",
        "Mend that and type the same command again: it goes on where it stopped.",
    )
