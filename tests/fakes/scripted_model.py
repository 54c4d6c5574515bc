"""A model that plays what a test wrote down: answers and faults for each request, and for each load.

SUMMARY
    script = Script().answers("a", crash(), answer("x")).loads(missing_model())
    ScriptedModel(script)     the port `ReadyModel`, for the dispatcher
    ScriptedServer(script)    the port `ModelServer`, for the supervisor and the whole house

    A request that the script does not name is answered. What was asked is in `sent`, `loads` and `calls`.

DIAGNOSTICS
    Bug: AssertionError when a request comes more often than the script has lines for it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from batchd.core.course import Cohort
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription, Source, Usage
from batchd.core.request import Endpoint, Request

#: Turns of the event loop that an answer takes, so that requests are in flight together.
TURNS_PER_ANSWER = 3

Played = Answer | ModelFault


def answer(text: str = "yes", prompt: int = 10, completion: int = 2, finish: str = "stop") -> Answer:
    """One finished answer; half of its prompt came from the cache."""
    usage = Usage(prompt, completion, prompt // 2, Source.ENGINE, 0.01, 0.02)
    return Answer(text, None, finish, usage)


def vector() -> Answer:
    """The answer to one text to embed."""
    return Answer("", None, "stop", Usage(5, 0, 0, Source.ENGINE, 0.01, 0.0), ((0.25, 0.5),))


def crash(text: str = "unexpected EOF") -> ModelFault:
    """The model server died with the request in it."""
    return ModelFault(Category.CRASH, text, is_temporary=True, is_server_lost=True)


def unreachable() -> ModelFault:
    """Nobody listens."""
    return ModelFault(Category.NETWORK, "connection refused", is_temporary=True, is_server_lost=True)


def displaced(name: str) -> ModelFault:
    """Another client of the server has loaded this model in place of ours."""
    text = f"The model '{name}' of another client has taken the memory; it is waited for."
    return ModelFault(Category.NETWORK, text, is_temporary=True, is_server_lost=True, taken_by=name)


def gateway() -> ModelFault:
    """Something between us and the server says that it is away, or takes too long."""
    text = "The gateway before the model server answered 504: 504 Gateway Time-out"
    return ModelFault(Category.NETWORK, text, is_temporary=True)


def crowded() -> ModelFault:
    """It has too many requests."""
    return ModelFault(Category.NETWORK, "It answered 429: too many", is_temporary=True, is_crowded=True)


def hung() -> ModelFault:
    """No answer within the limit."""
    return ModelFault(Category.TIMEOUT, "no answer within 300 s", is_temporary=True, is_server_lost=True)


def hiccup(text: str = "server busy") -> ModelFault:
    """A temporary fault that concerns this request only."""
    return ModelFault(Category.SERVER, text, is_temporary=True)


def refused(text: str = "no such format") -> ModelFault:
    """The model refuses this request for good."""
    return ModelFault(Category.VALIDATION, text, is_temporary=False)


def out_of_memory() -> ModelFault:
    """At load, or while answering."""
    return ModelFault(
        Category.OOM, "cudaMalloc failed: out of memory", is_temporary=True, is_server_lost=True
    )


def out_of_order(text: str = "the key is wrong") -> ModelFault:
    """Only a person can mend it."""
    return ModelFault(Category.MODEL, text, is_temporary=True, is_server_lost=True, needs_operator=True)


def missing_model(name: str = "m") -> ModelFault:
    """The model is not there."""
    text = f"The model '{name}' does not exist here; get it with: ollama pull {name}"
    return ModelFault(Category.MODEL, text, is_temporary=False, code="model_not_found")


def overflow(prompt: int, window: int) -> ModelFault:
    """The prompt is longer than the window."""
    text = f"request ({prompt} tokens) exceeds the available context size ({window} tokens)"
    return ModelFault(
        Category.CONTEXT_LENGTH,
        text,
        is_temporary=False,
        code="context_length_exceeded",
        prompt_tokens=prompt,
        window_tokens=window,
    )


def loaded(load: Load, window_tokens_max: int | None = None) -> Loaded:
    """What a server says that did as it was told."""
    return Loaded(
        load.model, "sha256:1", "Q4_1", load.window_tokens, load.slots, 10, 10, window_tokens_max, 0.5
    )


class Script:
    """What will be played. Each list is used up from its front."""

    def __init__(self) -> None:
        self._answers: dict[str, deque[Played]] = {}
        self._loads: deque[ModelFault | None] = deque()
        self._restarts: deque[ModelFault | None] = deque()
        self.poison: set[str] = set()
        self.held: set[str] = set()
        self.window_tokens_max: int | None = None
        self.slots_max: int | None = None
        self.windows_max: int | None = None
        self.memory_window_tokens_max: int | None = None
        self.memory: Callable[[Load], bool] = lambda load: True
        self.card_slots: int | None = None
        self.exact: dict[str, int] = {}
        self.turns = TURNS_PER_ANSWER

    def answers(self, custom_id: str, *outcomes: Played) -> "Script":
        """What the request meets, one for each time that it is sent."""
        self._answers[custom_id] = deque(outcomes)
        return self

    def loads(self, *outcomes: ModelFault | None) -> "Script":
        """What the loads meet (None: loaded); after these, all go well."""
        self._loads.extend(outcomes)
        return self

    def restarts(self, *outcomes: ModelFault | None) -> "Script":
        """What the restarts meet."""
        self._restarts.extend(outcomes)
        return self

    def poisons(self, *custom_ids: str) -> "Script":
        """The server dies of these, and with it all that it holds."""
        self.poison.update(custom_ids)
        return self

    def holds(self, *custom_ids: str) -> "Script":
        """These are answered only after `release`."""
        self.held.update(custom_ids)
        return self

    def has_model_maximum(self, window_tokens: int) -> "Script":
        """The model's own longest window, as a load reports it."""
        self.window_tokens_max = window_tokens
        return self

    def has_slots(self, count: int) -> "Script":
        """The server has no more than these, whatever is asked."""
        self.slots_max = count
        return self

    def has_windows(self, window_tokens: int) -> "Script":
        """The server's windows are no larger, whatever is asked, and it does not say why."""
        self.windows_max = window_tokens
        return self

    def holds_in_memory(self, fits: Callable[[Load], bool]) -> "Script":
        """Loads that this says no to run out of memory."""
        self.memory = fits
        return self

    def counts(self, custom_id: str, tokens: int) -> "Script":
        """What the server's own tokenizer says of this request."""
        self.exact[custom_id] = tokens
        return self

    def has_card_for(self, slots: int) -> "Script":
        """What more slots need lies beside the card."""
        self.card_slots = slots
        return self

    def has_memory_for(self, window_tokens: int) -> "Script":
        """A larger window was tried and did not fit, and the supervisor says so."""
        self.windows_max = self.memory_window_tokens_max = window_tokens
        return self

    def answers_at_once(self) -> "Script":
        """No answer lets anybody else have a turn of the loop."""
        self.turns = 0
        return self

    def outcome(self, request: Request) -> Played:
        lines = self._answers.get(request.custom_id)
        if lines is None:
            return vector() if request.endpoint is Endpoint.EMBEDDINGS else answer()
        assert lines, f"{request.custom_id} came more often than the script says"
        return lines.popleft()

    def load_outcome(self, load: Load) -> Loaded | ModelFault:
        fault = self._loads.popleft() if self._loads else None
        if fault is None and not self.memory(load):
            fault = out_of_memory()
        if self.slots_max is not None:
            load = replace(load, slots=min(load.slots, self.slots_max))
        if self.windows_max is not None:
            load = replace(load, window_tokens=min(load.window_tokens, self.windows_max))
        if fault is not None:
            return fault
        done = loaded(load, self.window_tokens_max)
        if self.card_slots is not None:
            done = replace(done, size_bytes=load.slots, gpu_bytes=min(load.slots, self.card_slots))
        return replace(done, memory_window_tokens_max=self.memory_window_tokens_max)

    def restart_outcome(self) -> ModelFault | None:
        return self._restarts.popleft() if self._restarts else None


class _Stage:
    """Requests in flight, and what happens to them. `watch` sees each one when it is sent."""

    def __init__(self, script: Script, watch: Callable[[Request], None] = lambda request: None) -> None:
        self._script = script
        self._watch = watch
        self._in_flight: dict[asyncio.Future[Played | None], str] = {}
        self.sent: list[str] = []
        self.slots: dict[str, int] = {}
        self.models: list[str] = []
        self.company: list[set[str]] = []
        self.cancelled: list[str] = []
        self._on_sent: dict[str, Callable[[], object]] = {}
        self._is_released = False
        self.counted: list[str] = []

    async def count_tokens(self, request: Request) -> int | None:
        self.counted.append(request.custom_id)
        return self._script.exact.get(request.custom_id)

    @property
    def most_in_flight(self) -> int:
        """The most requests held at one time."""
        return max((len(together) for together in self.company), default=0)

    def alone(self, custom_id: str) -> list[bool]:
        """For each time that it was sent: whether nothing was beside it then."""
        return [
            together == {custom_id}
            for sent, together in zip(self.sent, self.company, strict=True)
            if sent == custom_id
        ]

    def release(self) -> None:
        """Let the held ones be answered."""
        self._is_released = True
        self._settle(None)

    def on_sent(self, custom_id: str, act: Callable[[], object]) -> None:
        """Do this as soon as that request is sent."""
        self._on_sent[custom_id] = act

    async def sent_to(self, count: int) -> None:
        """Wait until so many requests were sent; the test's own limit ends a wait in vain."""
        while len(self.sent) < count:  # noqa: ASYNC110 - the lanes need the turns
            await asyncio.sleep(0)

    async def play(self, request: Request, slot: int) -> Played:
        self._watch(request)
        mine: asyncio.Future[Played | None] = asyncio.get_running_loop().create_future()
        self._in_flight[mine] = request.custom_id
        self.sent.append(request.custom_id)
        self.slots[request.custom_id] = slot
        self.models.append(request.model)
        self.company.append(set(self._in_flight.values()))
        self._on_sent.pop(request.custom_id, lambda: None)()
        try:
            for _ in range(self._script.turns):
                await asyncio.sleep(0)
            if request.custom_id in self._script.held and not self._is_released:
                await asyncio.wait({mine})
            if request.custom_id in self._script.poison:
                self._settle(crash())
            died = mine.result() if mine.done() else None
            return self._script.outcome(request) if died is None else died
        except asyncio.CancelledError:
            self.cancelled.append(request.custom_id)
            raise
        finally:
            del self._in_flight[mine]

    def _settle(self, fault: ModelFault | None) -> None:
        for future in self._in_flight:
            if not future.done():
                future.set_result(fault)


class ScriptedModel(_Stage):
    """The port `ReadyModel`. With a name it is one of several."""

    def __init__(
        self,
        script: Script | None = None,
        watch: Callable[[Request], None] = lambda request: None,
        name: str = "",
        number: int = 0,
    ) -> None:
        super().__init__(script or Script(), watch)
        self.name, self.number = name, number
        self.loads: list[Load] = []
        self.suspects: list[ModelFault] = []
        self.trials: list[bool] = []
        self.cohorts: list[Cohort] = []
        self.judgements: list[tuple[tuple[str, ...], int]] = []
        self.has_more = False

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        await asyncio.sleep(0)
        if not is_wanted():
            return None
        self.loads.append(load)
        return self._script.load_outcome(load)

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
        return await self.play(request, slot)

    def suspect(self, fault: ModelFault, is_trial: bool = False) -> None:
        self.suspects.append(fault)
        self.trials.append(is_trial)

    def finished(self, cohort: Cohort) -> bool:
        self.cohorts.append(cohort)
        return self.has_more

    def judged(self, guilty: tuple[str, ...], deaths: int) -> None:
        self.judgements.append((guilty, deaths))


class ScriptedServer(_Stage):
    """The port `ModelServer`. `calls` has one word for each; canaries are scripted under "canary"."""

    def __init__(self, script: Script | None = None) -> None:
        super().__init__(script or Script())
        self.calls: list[str] = []
        self.mode = "own"
        self.strangers: list[ModelFault] = []  # what the next descriptions meet

    async def describe(self, timeout_s: float) -> ServerDescription | ModelFault:
        if self.strangers:
            return self.strangers.pop(0)
        return ServerDescription("scripted", "1.0", self.mode, "http://127.0.0.1:1")

    async def digests(self, models: Sequence[str], timeout_s: float) -> Mapping[str, str] | ModelFault:
        return dict.fromkeys(models, "sha256:1")

    async def load(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
        self.calls.append(f"load {load.model} {load.window_tokens}x{load.slots}")
        return self._script.load_outcome(load)

    async def unload(self, timeout_s: float) -> None:
        self.calls.append("unload")

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Played:
        if request.custom_id == "canary":
            self.calls.append("canary")
            self._on_sent.pop("canary", lambda: None)()
            return self._script.outcome(request)
        return await self.play(request, slot)

    async def restart(self, timeout_s: float) -> ModelFault | None:
        self.calls.append("restart")
        return self._script.restart_outcome()

    async def close(self) -> None:
        self.calls.append("close")
