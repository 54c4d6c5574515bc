"""Steering: what the supervisor asks of its server, decided by the governor and told to everybody.

SUMMARY
    Keeps the governor's course, the account of deaths, and the best speed of a load. Each decision is one
    line in the log and one call of `on_change`, which enters it in the journal. A death under a chunk waits
    here until somebody wants the server again, and says what the smallest useful window is.

DIAGNOSTICS
    Warning: each decision of the governor.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from batchd.core.course import (
    Cohort,
    Course,
    Died,
    Fitted,
    Happening,
    Hung,
    Judged,
    Pressed,
    Spilled,
    TooLarge,
)
from batchd.core.edge import Edge, edge_of
from batchd.core.fault import Category, ModelFault
from batchd.core.governor import begin_batch, decide
from batchd.core.limits import RENEWED, Change, Limits
from batchd.core.masking import masked
from batchd.core.model import Answer, Load, Loaded
from batchd.core.request import Request
from batchd.core.restarts import Restarts
from batchd.core.standing import shortened
from batchd.daemon.ports import Clock
from batchd.daemon.voice import voice

#: At less than this share of its own best speed, a server is doubted: load and canary are looked at again. A
#: speed is of so many answers and so long a time at least: one short answer after a long one is no doubt.
DOUBTED_SHARE = 0.25
DOUBTED_ANSWERS = 32
DOUBTED_S = 60.0

#: Answers, tokens and seconds of what was not yet compared.
NO_SPEED = (0, 0, 0.0)


class Steering:
    """The limits of one model server, and what changes them."""

    def __init__(
        self, given: Limits, clock: Clock, on_change: Callable[[Change], None], name: str = ""
    ) -> None:
        self._log = voice(name)
        self._given = given  # by the operator; what was learned is of one model
        self._clock = clock
        self._on_change = on_change
        self._has_card = given.has_card
        self._course = Course.begin(given)
        self._restarts = Restarts()
        self._death: ModelFault | None = None
        self._answers = 0  # since the last death
        self._best_per_s = 0.0
        self._speed = NO_SPEED
        self._taken_by = ""  # the model of another client
        self._model = ""
        self._remembered: dict[str, Mapping[str, int]] = {}  # by model, from an earlier life
        self._is_renewed = False  # the load was put out in good order
        self.must_prove = False  # the model, again: what is not known of it now was proven before

    def __repr__(self) -> str:
        return f"Steering({self._course.limits}, {len(self._restarts.deaths)} deaths)"

    @property
    def window_tokens_max(self) -> int | None:
        """Larger windows did not fit in memory; None where none failed."""
        return self._course.limits.window_tokens

    def allowed(self, load: Load) -> Load:
        """What may be asked for, of what is wished for."""
        return self._course.limits.applied_to(load)

    def begin(self, load: Load) -> None:
        """What was learned of another model does not hold for this one."""
        if self._model != load.model:
            self._model = load.model
            self._course = Course.begin(self._given)
            if kept := self._remembered.get(load.model):
                self._begin_at(edge_of(kept, self._clock.monotonic()), load)

    def _begin_at(self, edge: Edge, load: Load) -> None:
        slots = min(self._given.slots, edge.slots_max(load.window_tokens))
        self._course = replace(self._course, edge=edge, limits=replace(self._given, slots=slots))
        if slots < self._given.slots:
            cause = "an earlier life of the daemon met this limit"
            self._tell(
                Change("slots_remembered", str(self._given.slots), str(slots), cause, str(edge.kept()))
            )

    def remember(self, kept: Mapping[str, Mapping[str, int]]) -> None:
        """The edges of models that this life has not met."""
        self._remembered = {model: edge for model, edge in kept.items() if model != self._model}

    def kept(self) -> dict[str, Mapping[str, int]]:
        """By model: what was found not to hold, for another life of the daemon."""
        return {**self._remembered, self._model: self._course.edge.kept()}

    def begin_batch(self) -> None:
        """Its large windows are tried anew."""
        self._course = begin_batch(self._course)

    def died(self, fault: ModelFault, load: Load) -> None:
        """Under a chunk of this load; the governor hears of it from `bury`."""
        is_barren = self._answers < load.slots
        self._death, self._answers = fault, 0
        self._restarts = self._restarts.after_death(self._clock.monotonic(), is_barren)

    def meets(self, fault: ModelFault, model: str) -> None:
        """Where another client has taken the memory, that is told once: nothing of ours is to blame."""
        if fault.taken_by and fault.taken_by != self._taken_by:
            cause = "another client of the model server loaded it"
            self._on_change(Change("model_displaced", model, fault.taken_by, cause, shortened(fault)))
        self._taken_by = fault.taken_by or ""

    def bury(self, load: Load, window_tokens_min: int) -> None:
        """Somebody wants the server again: what a death of this load means for the next one."""
        fault, self._death = self._death, None
        if fault is None:
            return
        if fault.category is Category.TIMEOUT:
            self.decide(Hung(load, shortened(fault)))
            return
        is_memory, now = fault.category is Category.OOM, self._clock.monotonic()
        self.decide(Died(load, window_tokens_min, is_memory, shortened(fault), now))

    def is_overspent(self) -> bool:
        """Whether it died too often to be restarted at once."""
        return not self._is_renewed and self._restarts.excess(self._clock.monotonic()) > 0

    def pause_s(self, chance: float) -> float:
        """The wait before it is."""
        return self._restarts.pause_s(self._clock.monotonic(), chance)

    def dying_words(self, detail: str) -> str:
        """Why it is waited for."""
        return f"the model server died {len(self._restarts.deaths)} times of late; the last time: {detail}"

    def judged(self, guilty: tuple[str, ...], deaths: int) -> None:
        """All suspects are cleared but these, who caused so many deaths."""
        if guilty:
            self._restarts = self._restarts.without(deaths)
        self.decide(Judged(guilty))

    def is_too_large(self, fault: ModelFault, load: Load, window_tokens_min: int) -> bool:
        """Out of memory at load: whether less will be asked for."""
        event = TooLarge(load, window_tokens_min, shortened(fault), self._clock.monotonic())
        return self.decide(event) is not None

    def press(self, load: Load, window_tokens_min: int, evidence: str) -> None:
        """A reading is above the mark at which less must be asked."""
        self.decide(Pressed(load, window_tokens_min, evidence, self._clock.monotonic()))

    def fitted(self, load: Load, load_s: float) -> None:
        """A load was proven."""
        self._best_per_s, self._speed, self._taken_by = 0.0, NO_SPEED, ""
        self.must_prove = self._is_renewed = False
        self.decide(Fitted(load, load_s))

    def shrinks_spill(self, loaded: Loaded, load: Load, window_tokens_min: int) -> bool:
        """Whether less will be asked for because a part lies beside the card, where there is a card."""
        size, on_card = loaded.size_bytes, loaded.gpu_bytes
        if size is None or on_card is None:
            return False
        self._has_card = self._has_card or on_card > 0
        if not self._has_card or on_card >= size:
            return False
        text = f"{on_card / 1e9:.2f} of {size / 1e9:.2f} GB are on the card"
        event = Spilled(load, window_tokens_min, size - on_card, text, self._clock.monotonic())
        return self.decide(event) is not None

    def is_doubtful(self, cohort: Cohort) -> bool:
        """Whether the server is much slower than since its last load, or may have another load by now."""
        if self.must_prove:
            return True
        if not cohort.is_full:
            return False
        answers, tokens, duration_s = self._speed
        answers, tokens, duration_s = (
            answers + cohort.answers,
            tokens + cohort.tokens,
            duration_s + cohort.duration_s,
        )
        self._speed = (answers, tokens, duration_s)
        if answers < DOUBTED_ANSWERS or duration_s < DOUBTED_S:
            return False
        self._speed = NO_SPEED
        per_s, best = tokens / duration_s, self._best_per_s
        self._best_per_s = max(best, per_s)
        return per_s < DOUBTED_SHARE * best

    def goes_on(self, cohort: Cohort) -> str:
        """What the governor says to a cohort: "" to go on, else the name of its decision."""
        self._answers += cohort.answers
        change = self.decide(cohort)
        self._is_renewed = change is not None and change.name == RENEWED
        return "" if change is None else change.name

    def noticed(self, answer: Answer | ModelFault, request: Request) -> Answer | ModelFault:
        """Where the model was brought in again for a request, others use this server as well. From here on,
        what is told of a fault has no word of its prompt."""
        if isinstance(answer, ModelFault):
            return replace(answer, masked=masked(answer.message, request))
        if answer.reload_s and not self.must_prove:
            self.must_prove = True
            cause = "it was put out for another client's model, or had ended"
            evidence = f"a request waited {answer.reload_s:.1f} s for it"
            self._tell(Change("model_displaced", "resident", "loaded again", cause, evidence))
        return answer

    def decide(self, event: Happening) -> Change | None:
        """Ask the governor, and tell what it says."""
        self._course, change = decide(self._course, event)
        if change is not None:
            self._tell(change)
        return change

    def _tell(self, change: Change) -> None:
        self._log.bind(event="governor").warning(
            "{}: {} -> {}, because {} ({})",
            change.name,
            change.old,
            change.new,
            change.cause,
            change.evidence,
        )
        self._on_change(change)
