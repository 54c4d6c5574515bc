"""Standing: how the model server stands, as the status shows it, and what one wait for it has met.

SUMMARY
    `Standing` is the supervisor's face. `Trouble` is what went wrong while somebody waits. `canary` is the
    request that proves a load, `given_up` the fault of those who waited for longer than allowed, `unusable`
    the error of a foreground run that shall not wait.

DIAGNOSTICS
    None: values only.
"""

from dataclasses import dataclass, replace

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded
from batchd.core.request import Endpoint, Message, Request
from batchd.core.serverstate import PROVEN, State
from batchd.errors import UnavailableError

#: A model that refuses its canary for good so often, each time freshly loaded, cannot do this kind of work.
CANARY_REFUSALS_MAX = 3


@dataclass(frozen=True, slots=True)
class Standing:
    """The supervisor's face: what `batchd status` shows of the model."""

    state: State
    detail: str = ""
    loaded: Loaded | None = None
    next_try_at: float | None = None  # seconds since the epoch

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered."""
        return self.state in PROVEN


@dataclass(slots=True)
class Trouble:
    """What went wrong while one `ensure` waits."""

    tries: int = 0
    refusals: int = 0
    said: str = ""
    fault: ModelFault | None = None
    since: float | None = None

    def of_load(self, fault: ModelFault) -> ModelFault:
        """Nor does a refused load, whatever it calls itself: only what is said of the model is believed."""
        return fault if fault.category is Category.MODEL else self.of_canary(fault)

    def of_canary(self, fault: ModelFault) -> ModelFault:
        """A refused canary says nothing about a request: the model is broken, and may come back; or not."""
        self.refusals += not fault.is_temporary
        return replace(fault, is_temporary=fault.is_temporary or self.refusals < CANARY_REFUSALS_MAX)


def canary(load: Load) -> Request:
    """A request whose good answer has a known shape: any text, or one vector."""
    if load.is_embedding:
        return Request("canary", Endpoint.EMBEDDINGS, load.model, (), ("ready?",), {}, 0)
    messages = (Message("user", "Say: ready."),)
    return Request("canary", Endpoint.CHAT, load.model, messages, (), {"temperature": 0}, 1)


def proven(standing: Standing, answer: Answer) -> Standing:
    """With what the canary's answer told of the model: how long its vectors are."""
    if standing.loaded is None or not answer.embeddings:
        return standing
    return replace(standing, loaded=replace(standing.loaded, vector_length=len(answer.embeddings[0])))


def given_up(after_s: float, detail: str, fault: ModelFault | None) -> ModelFault:
    """What the requests end with that waited for it."""
    category = Category.CRASH if fault is None else fault.category
    # Nobody refused these requests: the server was never there to do so.
    category = Category.SERVER if category in (Category.MODEL, Category.VALIDATION) else category
    text = f"The model server could not be used for {after_s:.0f} s (give_up_s); the last time: {detail}"
    return ModelFault(category, text, is_temporary=False, code="model_unavailable")


def shortened(fault: ModelFault) -> str:
    """What it says, at a length that people read."""
    return fault.told


def unusable(fault: ModelFault) -> UnavailableError:
    """What a foreground run ends with: nothing is lost, and a person is there to mend it."""
    return UnavailableError(
        f"The model server cannot be used: {shortened(fault)}",
        "Mend that and type the same command again: it goes on where it stopped.",
    )
