"""Account: the model as one batch sees it, and what the batch's journal is told of it.

SUMMARY
    Stands between the dispatcher and the supervisor. Each model that is handed out is entered in the journal
    before a request goes to it, so no answer is durable whose model is not.

DIAGNOSTICS
    Fatal: JournalError of the writer.
"""

from collections.abc import Awaitable, Callable, Mapping

from batchd.app.blocking import to_its_end
from batchd.app.judging import Judging
from batchd.core.course import Cohort
from batchd.core.fault import ModelFault
from batchd.core.limits import LOADED, Change
from batchd.core.model import Answer, Load, Loaded
from batchd.core.provenance import USES, Account, account_of
from batchd.core.request import Request
from batchd.daemon.ports import Journal, ReadyModel


class AccountedModel:
    """The port `ReadyModel`, for one batch. `now` tells of engine and machine, and may block.

    `advise` turns a wished load into the one that is known to be best on this machine.
    """

    def __init__(
        self,
        model: ReadyModel,
        journal: Journal,
        now: Callable[[], Mapping[str, object]],
        judging: Judging,
        advise: Callable[[Load], Awaitable[Load]],
    ) -> None:
        self._model = model
        self._advise = advise
        self._journal = journal
        self._judging = judging
        self._now = now
        self._account: Account | None = None
        self._entered: Loaded | None = None
        self._new_loads = 0
        self._canary_tokens = 0

    def __repr__(self) -> str:
        return f"AccountedModel({self._entered}, {self._new_loads} loads to enter)"

    @property
    def slots(self) -> int:
        """Of the latest load; 1 before the first."""
        return self._entered.slots if self._entered is not None else 1

    def log_change(self, change: Change) -> None:
        """A load that was made in this batch's time; its canary is ours to pay."""
        if change.name == LOADED:
            self._new_loads += 1
            self._canary_tokens += int(change.old)

    async def ensure(
        self, load: Load, is_wanted: Callable[[], bool], window_tokens_min: int
    ) -> Loaded | ModelFault | None:
        """See `ports.ReadyModel`."""
        loaded = await self._model.ensure(await self._advise(load), is_wanted, window_tokens_min)
        if isinstance(loaded, Loaded) and (self._new_loads or loaded != self._entered):
            await self._enter(loaded)
        return loaded

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        """One request in one slot."""
        return await self._judging.ask(self._model.answer, request, slot, timeout_s)

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

    async def _enter(self, loaded: Loaded) -> None:
        now = await to_its_end(self._now)
        account = self._account
        if account is None:
            account = account_of(await to_its_end(self._journal.meta))
        self._account = account.used(loaded, now, self._new_loads, self._canary_tokens)
        self._entered, self._new_loads, self._canary_tokens = loaded, 0, 0
        # The queue of the journal keeps its order: this is durable no later than the first answer.
        self._journal.note(USES, self._account.to_meta())
