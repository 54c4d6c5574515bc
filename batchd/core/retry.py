"""Retry: what a failed attempt leads to.

SUMMARY
    One pure decision for every fault, from what is known of the request. A server that was out of reach, or
    that a person must mend first, charges nobody, unless it worked for others meanwhile: then it is the
    request that is refused. A request that was held by a model server as it died or
    hung is a suspect: it is tried in ever smaller company, and when the server has died under it alone twice
    it is quarantined.

    Backoff is full jitter: random(0, min(cap, base * 2^n)), so that retries do not march in step.

DIAGNOSTICS
    None: values in, decisions out.
"""

from dataclasses import dataclass
from enum import Enum, auto

from batchd.core.fault import Category, ModelFault
from batchd.core.fit import refit

#: The first wait, and the longest, before a request is tried again.
BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 30.0

#: The middle of the first wait before a server that is there, but overloaded or behind a proxy without it, is
#: asked again. Where nobody is charged, the wait alone keeps the log and the server quiet. It doubles with
#: each refusal, up to the cap.
BUSY_PAUSE_S = 5.0
BUSY_CAP_S = 60.0

#: No server is left alone for longer, whatever its `Retry-After` says; a stranger's number is not a promise.
RETRY_AFTER_S_MAX = 300.0

#: So many times a request is turned away for one attempt, by a crowded server that has room for others: the
#: waits between them are some minutes, and who is last in a crowd is not to blame for it.
SPARED_TRIES = 8

#: What a request is charged with: one for all deaths in company, one for each alone. At this many it is
#: guilty: the server died under it alone twice, on a fresh load each time.
CRASHES_MAX = 3

#: No setting allows more attempts.
ATTEMPTS_MAX_MAX = 100

#: Categories of a death that may be the doing of a request that was held.
DEADLY = frozenset({Category.CRASH, Category.OOM, Category.TIMEOUT})


class Next(Enum):
    """What happens to the request."""

    AGAIN = auto()  # after `wait_s`
    SUSPECT = auto()  # with others of its kind, and in the end with nothing beside it
    REFIT = auto()  # with a window of `window_tokens`
    GIVE_UP = auto()  # its error line is written


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens next, and what is charged: the counts as they are from now on.

    `is_late`: not before all others had their turn. It hung, and may hang again, for as long.
    """

    next: Next
    attempts: int
    crashes: int
    wait_s: float = 0.0
    window_tokens: int = 0
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """An attempt that failed: the counts before it, and the request's bound and window.

    `is_alone`: it was tried with nothing beside it, as a suspect. `spared`: how often it was turned away
    since it was last charged.
    """

    attempts: int
    crashes: int
    completion_tokens_max: int
    window_tokens: int
    window_tokens_max: int
    is_alone: bool = False
    spared: int = 0


def decide(fault: ModelFault, trial: Trial, attempts_max: int, chance: float) -> Decision:
    """The consequence of a fault. `chance` is a random number in [0, 1)."""
    attempts, crashes = trial.attempts, trial.crashes
    if fault.category is Category.CONTEXT_LENGTH:
        window = _wider(fault, trial)
        if window is not None:
            return Decision(Next.REFIT, attempts, crashes, window_tokens=window)
        return Decision(Next.GIVE_UP, attempts + 1, crashes)
    if (fault.category is Category.NETWORK or fault.needs_operator) and not fault.is_own:
        wait_s = 0.0 if fault.is_server_lost else _busy_s(fault, trial.spared, chance)
        return Decision(Next.AGAIN, attempts, crashes, wait_s=wait_s)
    if fault.category in DEADLY and fault.is_server_lost:
        crashes = crashes + 1 if trial.is_alone else max(crashes, 1)
        is_guilty = crashes >= CRASHES_MAX
        is_late = fault.category is Category.TIMEOUT and not is_guilty
        return Decision(Next.GIVE_UP if is_guilty else Next.SUSPECT, attempts, crashes, is_late=is_late)
    if not fault.is_temporary or attempts + 1 >= attempts_max:
        return Decision(Next.GIVE_UP, attempts + 1, crashes)
    is_refused = fault.category is Category.NETWORK
    wait_s = _busy_s(fault, attempts, chance) if is_refused else backoff_s(attempts, chance)
    is_late = fault.category is Category.TIMEOUT
    return Decision(Next.AGAIN, attempts + 1, crashes, wait_s=wait_s, is_late=is_late)


def is_proof_due(fault: ModelFault, spared: int) -> bool:
    """Whether it may be the request's own doing, so that it is asked for what the server does for others.

    What a gateway says of one request is soon enough its own; what a crowded server says, or one that a
    person must mend, only when it was said so often that it would be said for ever.
    """
    if fault.is_crowded or fault.needs_operator:
        return (spared + 1) % SPARED_TRIES == 0
    return fault.category is Category.NETWORK and not fault.is_server_lost


def _busy_s(fault: ModelFault, tries: int, chance: float) -> float:
    """As long as it asked for, and a little later than the others; else longer each time."""
    if fault.retry_after_s is not None:
        return min(RETRY_AFTER_S_MAX, fault.retry_after_s) + BACKOFF_BASE_S * chance
    return min(BUSY_CAP_S, BUSY_PAUSE_S * 2.0 ** min(tries, 30)) * (0.5 + chance)


def _wider(fault: ModelFault, trial: Trial) -> int | None:
    """A larger window for it. Who does not say how long the prompt is may mean any of them."""
    most = trial.window_tokens_max
    if fault.prompt_tokens is None:
        return refit(0, most, trial.window_tokens, most)
    return refit(fault.prompt_tokens, trial.completion_tokens_max, trial.window_tokens, most)


def backoff_s(tries: int, chance: float, cap_s: float = BACKOFF_CAP_S) -> float:
    """The wait after so many earlier tries, with full jitter."""
    return chance * min(cap_s, BACKOFF_BASE_S * 2.0 ** min(tries, 30))
