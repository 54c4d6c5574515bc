"""Supervisor: keeps one model resident in one model server, and ready.

SUMMARY
    Walks the table of `core/serverstate`: what is done next stands there, what came of it is the next event.
    `ensure` walks until a canary proves a load, as long as somebody wants it; `steering` says of what size.

    A server that is gone, that dies too often, or that a person must mend, is waited for with pauses that
    grow; the standing says why, and when the next try is. With `give_up_s` that has an end.

DIAGNOSTICS
    Fatal: UnavailableError, in a foreground run only, when a person must mend the set-up.
    Warning: each fault of the server, once per change, with the time of the next try.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from batchd.core.course import Cohort
from batchd.core.fault import Category, ModelFault
from batchd.core.limits import RENEWED, Change, Limits, after_load
from batchd.core.model import Answer, Load, Loaded, ServerDescription
from batchd.core.request import Request
from batchd.core.retry import backoff_s
from batchd.core.serverstate import PROVEN, Command, Event, State, step
from batchd.core.standing import Standing, Trouble, canary, given_up, proven, shortened, unusable
from batchd.daemon.ports import Clock, ModelServer
from batchd.daemon.steering import Steering
from batchd.daemon.voice import voice

#: A load reads the whole model from disk: 40 GB at 200 MB/s. Ollama's own stall limit is five minutes.
LOAD_TIMEOUT_S = 600.0

#: A question about the server itself.
DESCRIBE_TIMEOUT_S = 15.0

#: The canary is a few tokens; a cold CPU needs seconds for them.
CANARY_TIMEOUT_S = 120.0

#: A canary that takes so many times as long as the one before it on the same load, and longer than this, has
#: failed: the server answers, and is not what it was.
CANARY_SLOW_FACTOR = 4.0
CANARY_SLOW_S = 5.0

#: Unloading waits for a hung runner to be killed: five seconds, measured.
RESTART_TIMEOUT_S = 60.0

#: Giving the model back is a courtesy: with the drain it must end before the service manager loses patience.
RELEASE_TIMEOUT_S = 20.0

#: The longest wait between two tries to reach a server, and between two loads that fail: those cost more.
COOLING_CAP_S = 30.0
COOLING_LOAD_CAP_S = 300.0

#: A wait looks this often whether it is still wanted.
WANTED_CHECK_S = 0.5


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody waits for, whether they still do, and what went wrong so far."""

    load: Load
    is_wanted: Callable[[], bool]
    window_tokens_min: int
    trouble: Trouble


class Supervisor:
    """One model server, its limits, and the model in it."""

    def __init__(
        self,
        server: ModelServer,
        clock: Clock,
        limits: Limits,
        on_change: Callable[[Change], None],
        waits_for_operator: bool = True,
        name: str = "",
    ) -> None:
        self.name, self._log = name, voice(name)
        self._server = server
        self._clock = clock
        self.steering = Steering(limits, clock, on_change, name)
        self._on_change = on_change
        self._waits_for_operator = waits_for_operator
        self._wanted: Load | None = None
        self._wish: Wish | None = None  # the latest
        self._in_flight = 0
        self._began = 0.0  # of the load at hand; with what a server of our own takes to start
        self._canary_s: float | None = None  # of this load
        self.give_up_s: float | None = None  # how long a server that cannot be used is waited for
        self.description: ServerDescription | None = None
        self.standing = Standing(State.ABSENT)

    def __repr__(self) -> str:
        return f"Supervisor({self.standing.state.value}, {self._wanted})"

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        """One request in one slot."""
        self._in_flight += 1
        if self.standing.state is State.READY:
            self._move(Event.BEGUN)
        try:
            return self.steering.noticed(await self._server.answer(request, slot, timeout_s), request)
        finally:
            self._in_flight -= 1
            if not self._in_flight and self.standing.state is State.BUSY:
                self._move(Event.DRAINED)

    async def count_tokens(self, request: Request) -> int | None:
        """See `ports.ReadyModel`."""
        return await self._server.count_tokens(request)

    def suspect(self, fault: ModelFault, is_trial: bool = False) -> None:
        """See `ports.ReadyModel`."""
        if self.standing.is_ready:
            self._log.bind(event="server_lost").warning(
                "model server lost: {} ({})", fault.category.value, shortened(fault)
            )
            if self._wanted is not None and not is_trial and fault.category is not Category.NETWORK:
                self.steering.died(fault, self._wanted)
            self.steering.meets(fault, self._wanted.model if self._wanted is not None else "")
        self._move(Event.LOST, shortened(fault))

    def finished(self, cohort: Cohort) -> bool:
        """See `ports.ReadyModel`."""
        if not self.standing.is_ready:
            return False
        if self.steering.is_doubtful(cohort):
            doubt = "it is slow, has loaded anew, or the machine slept: its load and a canary are looked at"
            self._log.bind(event="server_doubted").warning("model server doubted: {}", doubt)
            self._move(Event.DOUBTED)
            return True
        decision = self.steering.goes_on(cohort)
        if decision == RENEWED:
            self._move(Event.LOST, "the load is renewed")
        # A reading of the machine may have changed what is allowed since the load.
        is_less = self._wish is not None and self.steering.allowed(self._wish.load) != self._wanted
        return bool(decision) or is_less

    def press(self, evidence: str) -> None:
        """The machine is short of memory: less is asked for, from the end of a cohort on."""
        if self._wanted is not None and self._wish is not None and self.standing.is_ready:
            self.steering.press(self._wanted, self._wish.window_tokens_min, evidence)

    def woke(self) -> None:
        """The machine was suspended: what the card held is proven again, at the latest after a cohort."""
        self.steering.must_prove = True

    def judged(self, guilty: tuple[str, ...], deaths: int) -> None:
        """See `ports.ReadyModel`."""
        self.steering.judged(guilty, deaths)

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        """See `ports.ReadyModel`."""
        wish = self._wish = Wish(load, is_wanted, window_tokens_min, Trouble())
        self.steering.begin(load)
        self.steering.bury(self._wanted or load, window_tokens_min)
        event = self._first_event(load)
        while is_wanted():
            if event is None:
                return self.standing.loaded
            came = await self._follow(self._move(event), wish)
            if isinstance(came, ModelFault):
                return came
            event = came
        return None

    async def release(self) -> None:
        """Put the model out and give the server back the way it was found."""
        if self._move(Event.RELEASED) is Command.UNLOAD and self._wanted is not None:
            await self._server.unload(RELEASE_TIMEOUT_S)
        self._wanted = None

    async def stand_aside(self, reason: str) -> None:
        """Take no part, and say why."""
        await self.release()
        self.standing = Standing(self.standing.state, reason)

    def begin_account(self) -> None:
        """A batch begins: its large windows are tried anew."""
        self.steering.begin_batch()

    def _first_event(self, load: Load) -> Event | None:
        """What leads to this load; None when it is there."""
        is_proven = self.standing.is_ready and not self.steering.must_prove
        if is_proven and self._wanted == self.steering.allowed(load):
            return None
        is_overspent = self.standing.state is State.SUSPECT and self.steering.is_overspent()
        return Event.OVERSPENT if is_overspent else Event.WANTED

    async def _follow(self, command: Command, wish: Wish) -> Event | ModelFault | None:
        """Do it, and say what came of it; the fault that ends the wait, or None where it is ready."""
        match command:
            case Command.LOAD:
                return await self._load(wish)
            case Command.PROVE:
                return await self._prove(wish)
            case Command.RESTART:
                fault = await self._server.restart(RESTART_TIMEOUT_S)
                return Event.RESTARTED if fault is None else self._failed(wish.trouble.of_load(fault), wish)
            case Command.COOL:
                return await self._cool(wish)
            case Command.REPORT:
                assert wish.trouble.fault is not None
                self.standing = Standing(self.standing.state, shortened(wish.trouble.fault))
                return wish.trouble.fault
            case Command.NOTHING | Command.UNLOAD:
                return self._first_event(wish.load)

    def _move(self, event: Event, detail: str = "") -> Command:
        state, command = step(self.standing.state, event)
        if state is not self.standing.state or detail:
            loaded = self.standing.loaded if state in PROVEN or state is State.CANARY else None
            self.standing = Standing(state, detail or self.standing.detail, loaded)
        return command

    async def _load(self, wish: Wish) -> Event:
        load = self.steering.allowed(wish.load)
        if load != self._wanted:
            self._canary_s = None
        self._wanted, self._began = load, self._clock.monotonic()
        self.standing = Standing(State.LOADING, load.model)
        loaded = await self._server.load(load, LOAD_TIMEOUT_S)
        if isinstance(loaded, ModelFault):
            return self._failed(wish.trouble.of_load(loaded), wish)
        if isinstance(described := await self._server.describe(DESCRIBE_TIMEOUT_S), ModelFault):
            return self._failed(wish.trouble.of_load(described), wish)
        self.description = described
        if self.standing.state is not State.LOADING:  # it was lost or put out meanwhile
            return Event.LOADED
        if self.steering.shrinks_spill(loaded, load, wish.window_tokens_min):
            return Event.SHRUNK
        loaded = replace(loaded, memory_window_tokens_max=self.steering.window_tokens_max)
        # The move to the canary's state takes it along.
        self.standing = Standing(State.LOADING, load.model, loaded)
        return Event.LOADED

    async def _prove(self, wish: Wish) -> Event:
        load, loaded, described = self._wanted, self.standing.loaded, self.description
        assert load is not None
        assert loaded is not None
        assert described is not None
        began = self._clock.monotonic()
        answer = await self._server.answer(canary(load), 0, CANARY_TIMEOUT_S)
        if isinstance(answer, ModelFault):
            return self._failed(wish.trouble.of_canary(answer), wish)
        if self.standing.state is not State.CANARY:  # as above
            return Event.PROVEN
        before_s, self._canary_s = self._canary_s, self._clock.monotonic() - began
        if before_s is not None and self._canary_s > max(CANARY_SLOW_S, CANARY_SLOW_FACTOR * before_s):
            self._canary_s = None
            return Event.LOST
        self.steering.fitted(load, self._clock.monotonic() - self._began)
        self.standing = proven(self.standing, answer)
        self._on_change(after_load(loaded, described, answer.usage.prompt_tokens))
        self._log.bind(event="model_ready").info(
            "model {} ready: window {} tokens, {} slots, loaded in {:.1f} s",
            load.model,
            loaded.window_tokens,
            loaded.slots,
            loaded.load_s,
        )
        return Event.PROVEN

    def _failed(self, fault: ModelFault, wish: Wish) -> Event:
        """A load, a canary or a restart that came to nothing: what that means."""
        wish.trouble.fault = fault
        self.steering.meets(fault, wish.load.model)
        if fault.category is Category.OOM and self._wanted is not None:
            shrinks = self.steering.is_too_large(fault, self._wanted, wish.window_tokens_min)
            return Event.SHRUNK if shrinks else Event.FAILED
        if fault.needs_operator and not self._waits_for_operator:
            raise unusable(fault)
        return Event.FAILED if fault.is_temporary else Event.REFUSED

    async def _cool(self, wish: Wish) -> Event:
        trouble, now = wish.trouble, self._clock.monotonic()
        fault, chance = trouble.fault, 0.5 + self._clock.random() / 2
        trouble.since = now if trouble.since is None else trouble.since
        if self.give_up_s is not None and now - trouble.since >= self.give_up_s:
            said = self.standing.detail if fault is None else shortened(fault)
            trouble.fault = given_up(self.give_up_s, said, fault)
            return Event.EXPIRED
        if fault is None:
            text, wait_s = self.steering.dying_words(self.standing.detail), self.steering.pause_s(chance)
        else:
            cap_s = COOLING_CAP_S if fault.category is Category.NETWORK else COOLING_LOAD_CAP_S
            text, wait_s = shortened(fault), backoff_s(trouble.tries, chance, cap_s)
        if trouble.said != text:
            self._log.bind(event="model_waits").warning(
                "model not ready: {}; next try in {:.1f} s", text, wait_s
            )
        trouble.tries, trouble.said = trouble.tries + 1, text
        self.standing = Standing(State.COOLING, text, next_try_at=self._clock.now() + wait_s)
        while wish.is_wanted() and (left := now + wait_s - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, WANTED_CHECK_S))
        return Event.RESTED
