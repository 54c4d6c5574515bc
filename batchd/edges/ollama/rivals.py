"""Rivals: models that other clients of an attached server have loaded.

SUMMARY
    Patience    whether another client's model has taken the place of ours, and for how long it is let be

    Ollama puts an idle model out where the memory does not suffice for another one, whoever asks. That is
    nobody's death and no lack of memory: it is waited for until the other is idle and goes, which Ollama sees
    to after its keep-alive. One that is used without a pause, or kept for ever, is let be for `YIELD_S`; then
    our load takes its turn like any other's.

DIAGNOSTICS
    None.
"""

from collections.abc import Mapping
from typing import Protocol

from batchd.core.fault import Category, ModelFault
from batchd.edges.ollama.listing import listed_names

#: Twice the five minutes for which Ollama keeps an idle model: who is still there shares the server with us.
YIELD_S = 600.0


class Clock(Protocol):
    """Time, as `daemon/ports` has it."""

    def monotonic(self) -> float: ...


class Patience:
    """With the other clients of one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None

    def __repr__(self) -> str:
        return f"Patience({'none needed' if self._since is None else f'since {self._since:.0f}'})"

    @property
    def is_waiting(self) -> bool:
        """Whether a rival was met, and nothing of ours was loaded since."""
        return self._since is not None

    def met(self, listing: Mapping[str, object], is_silent: bool = False) -> ModelFault | None:
        """Nothing of ours is listed: the fault, where a rival is why that was not let be for long enough.

        `is_silent`: a request of ours had no answer. While a model comes in, none is listed (measured: 0.33).
        """
        rivals = listed_names(listing)
        if not rivals and is_silent:
            return self.loading()
        if not rivals:
            self.end()
            return None
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= YIELD_S:
            return None
        message = f"The model '{rivals[0]}' of another client has taken the memory; it is waited for."
        return ModelFault(Category.NETWORK, message, True, is_server_lost=True, taken_by=rivals[0])

    def loading(self) -> ModelFault:
        """The server lists nothing at all while it loads a model: one of ours that hangs is still listed."""
        message = "The model server is loading a model, and answers nobody before that; it is waited for."
        return ModelFault(Category.NETWORK, message, is_temporary=True, is_server_lost=True)

    def end(self) -> None:
        """Ours is loaded, or there was no rival."""
        self._since = None
