"""Account: the model servers as one batch sees them, and what the batch's journal is told of them.

SUMMARY
    BatchAccount     what a batch used: one for all its servers. It numbers them, in the order in which the
                     batch met them, so that a lane keeps its number over a restart; and where there are
                     several it knows which digest of a model is the batch's
    AccountedModel   stands between the dispatcher and one supervisor

    Each model that is handed out is entered in the journal before a request goes to it, so no answer is
    durable whose model is not. A server whose model of that name is another one takes no part: one batch is
    answered by one model.

DIAGNOSTICS
    Fatal: JournalError of the writer.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from batchd.app.blocking import to_its_end
from batchd.app.engines import ASK_TIMEOUT_S, ask_all
from batchd.app.judging import Judging
from batchd.app.servers import Seat
from batchd.core.course import Cohort
from batchd.core.fault import Category, ModelFault
from batchd.core.json import dumps, loads
from batchd.core.limits import LOADED, Change
from batchd.core.model import Answer, Load, Loaded
from batchd.core.provenance import USES, Account, account_of, agreed
from batchd.core.request import Request
from batchd.core.vectors import LENGTHS, held
from batchd.daemon.ports import Journal

#: The meta value with the names of the servers, in the order of their numbers.
SERVERS = "servers"

#: The meta value with what does not hold: by server and model.
EDGES = "edges"


class BatchAccount:
    """One batch's. `begin` comes first."""

    def __init__(self, journal: Journal, seats: Sequence[Seat]) -> None:
        self._journal = journal
        self._seats = seats
        self._account = Account()
        self._digests: dict[str, str] = {}
        self._lengths: dict[str, int] = {}
        self._choosing = asyncio.Lock()
        self.names: list[str] = []

    def __repr__(self) -> str:
        return f"BatchAccount({len(self._account.uses)} uses, {len(self.names)} servers)"

    def begin(self, meta: Mapping[str, str]) -> None:
        """What earlier lives of the daemon have entered."""
        self._account = account_of(meta)
        self.names = servers_of(meta)
        known = len(self.names)
        self.names += [seat.name for seat in self._seats if seat.name not in self.names]
        if len(self.names) > max(known, 1):
            self._journal.note(SERVERS, dumps(self.names).decode())

        lengths = loads(meta[LENGTHS].encode()) if LENGTHS in meta else {}
        self._lengths = dict(lengths) if isinstance(lengths, dict) else {}
        edges = loads(meta[EDGES].encode()) if EDGES in meta else {}
        for seat in self._seats:
            seat.supervisor.steering.remember(edges.get(seat.name, {}) if isinstance(edges, dict) else {})

    def keep_edges(self) -> None:
        """What the governors have found not to hold outlives the daemon, for this batch."""
        found = {seat.name: seat.supervisor.steering.kept() for seat in self._seats}
        self._journal.note(EDGES, dumps(found).decode())

    def number_of(self, name: str) -> int:
        return self.names.index(name)

    async def used(self, loaded: Loaded, seat: Seat, new_loads: int, canary_tokens: int) -> None:
        """This load is used from now on."""
        now = await to_its_end(seat.provenance)
        self._account = self._account.used(loaded, now, new_loads, canary_tokens, seat.name)
        # The queue of the journal keeps its order: this is durable no later than the first answer.
        self._journal.note(USES, self._account.to_meta())

    def vectors_held(self, request: Request, answer: Answer, length: int | None) -> Answer | ModelFault:
        """An answer with vectors, held against what this batch has of its model; `length`: its canary's."""
        if request.model not in self._lengths:
            self._lengths[request.model] = length or len(answer.embeddings[0])
            # The queue of the journal keeps its order: this is durable no later than the answer.
            self._journal.note(LENGTHS, dumps(self._lengths).decode())
        return held(request, answer, self._lengths[request.model])

    async def digest_of(self, model: str) -> str:
        """The digest that this model has in this batch: that of what answered before, else the one that most
        servers have now. Empty while nobody knows."""
        async with self._choosing:  # so that two servers do not begin with two
            if model not in self._digests:
                known = self._account.digest_of(model) or await self._most_common(model)
                if not known:
                    return ""
                self._digests[model] = known
            return self._digests[model]

    async def _most_common(self, model: str) -> str:
        engines = [seat.engine for seat in self._seats]
        answers = await ask_all(engines, lambda server: server.digests([model], ASK_TIMEOUT_S))
        return agreed(digests for digests in answers if not isinstance(digests, ModelFault)).get(model, "")

    def begins_with(self, loaded: Loaded) -> None:
        """Nobody could say it before: it is the batch's model."""
        self._digests.setdefault(loaded.model, loaded.digest)


class AccountedModel:
    """The port `ReadyModel`, for one batch and one server."""

    def __init__(self, seat: Seat, account: BatchAccount, judging: Judging) -> None:
        self._seat = seat
        self._model = seat.supervisor
        self._account = account
        self._judging = judging
        self._entered: Loaded | None = None
        self._new_loads = 0
        self._canary_tokens = 0

    def __repr__(self) -> str:
        return f"AccountedModel({self._entered}, {self._new_loads} loads to enter)"

    @property
    def name(self) -> str:
        """Empty where there is no other server."""
        return self._seat.name

    @property
    def number(self) -> int:
        """Among the servers of this batch."""
        return self._account.number_of(self.name)

    @property
    def slots(self) -> int:
        """Of the latest load; none before the first."""
        return self._entered.slots if self._entered is not None else 0

    def log_change(self, change: Change) -> None:
        """A load that was made in this batch's time; its canary is ours to pay."""
        if change.name == LOADED:
            self._new_loads += 1
            self._canary_tokens += int(change.old)

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        """See `ports.ReadyModel`."""
        if self.name and (fault := await self._other_model(load.model)) is not None:
            return fault
        advised = await self._seat.engine.advise(load)
        loaded = await self._model.ensure(advised, is_wanted, window_tokens_min)
        if not isinstance(loaded, Loaded):
            return loaded
        if self.name and loaded != self._entered:
            self._account.begins_with(loaded)
            if (fault := await self._refused(loaded.model, loaded.digest)) is not None:
                return fault
        if self._new_loads or loaded != self._entered:
            await self._account.used(loaded, self._seat, self._new_loads, self._canary_tokens)
            self._entered, self._new_loads, self._canary_tokens = loaded, 0, 0
        return loaded

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        """One request in one slot."""
        return await self._judging.ask(self._sent, request, slot, timeout_s, self._entered)

    async def _sent(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        answer = await self._model.answer(request, slot, timeout_s)
        if isinstance(answer, ModelFault) or not answer.embeddings:
            return answer
        length = self._entered.vector_length if self._entered is not None else None
        return self._account.vectors_held(request, answer, length)

    async def count_tokens(self, request: Request) -> int | None:
        """The prompt's tokens, exactly."""
        return await self._model.count_tokens(request)

    def suspect(self, fault: ModelFault, is_trial: bool = False) -> None:
        """The server died or hangs."""
        self._model.suspect(fault, is_trial)

    def finished(self, cohort: Cohort) -> bool:
        """As many answers as the chunk holds."""
        return self._model.finished(cohort)

    def judged(self, guilty: tuple[str, ...], deaths: int) -> None:
        """No suspect is left."""
        self._model.judged(guilty, deaths)

    async def _other_model(self, model: str) -> ModelFault | None:
        """Whether this server's model is known to be another one, before it is loaded."""
        if self._entered is not None and self._entered.model == model:
            return None
        if not await self._account.digest_of(model):
            return None
        digests = await self._seat.engine.server.digests([model], ASK_TIMEOUT_S)
        if isinstance(digests, ModelFault) or model not in digests:
            return None  # the load will tell
        return await self._refused(model, digests[model])

    async def _refused(self, model: str, digest: str) -> ModelFault | None:
        wanted = await self._account.digest_of(model)
        if not digest or digest == wanted:
            return None
        text = (
            f"'{model}' is another model on {self.name}: its digest is {digest[:12]}, that of this batch "
            f"{wanted[:12]}"
        )
        await self._model.stand_aside(text)
        return ModelFault(Category.MODEL, f"{text}.", is_temporary=False, code="model_differs")


def servers_of(meta: Mapping[str, str]) -> list[str]:
    """The names of the servers of a batch, by their numbers; a server that was alone has none."""
    if SERVERS not in meta:
        return [""] if USES in meta else []
    names = loads(meta[SERVERS].encode())
    assert isinstance(names, list)  # we wrote it
    return [str(name) for name in names]
