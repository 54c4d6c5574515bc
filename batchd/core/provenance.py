"""Provenance: which models, as they were loaded, gave the answers of one batch.

SUMMARY
    A batch may outlive the daemon, so what it used is kept in its journal, as the meta value `USES`, entered
    before the first answer that comes of it. Equal uses are one entry with a count: a model that is loaded
    again and again does not push out the others. The latest used stands last.

        facts      the model, the engine, the GPUs, our own version: all that is equal in equal uses; the
                   server too, where there are several
        loads      how often it was loaded in this batch's time; 0: it was resident when the batch began
        load_s     how long the latest of its loads took

    The canary of a load is paid by the batch in whose time the load was made.

DIAGNOSTICS
    Bug: a meta value that `to_meta` did not write, unless it was found in a damaged journal (`read_back`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from batchd.core.json import dumps, loads
from batchd.core.model import Loaded

#: The meta value of the journal.
USES = "uses"

#: What is true of engine and machine at the time of a use; the rest of it is of the process.
_AROUND = ("batchd", "engine", "gpus")

#: What is said of an answer with `temperature` 0 or a seed, should the same batch run again.
REPEATABLE = "yes: one slot; the same model, engine, window, machine and order give the same answers"
NOT_REPEATABLE = (
    "no: with several slots an answer depends on what is computed beside it, also at temperature 0 or with a "
    "seed; slots = 1 gives the same answers again"
)
UNSURE = "not claimed: the load changed while the batch ran, or nobody knows it"

#: Different uses kept for one batch, some 50 kB: hardly a batch meets more than a few.
USES_MAX = 100


@dataclass(frozen=True, slots=True)
class Use:
    """One model as it was loaded by one engine on one machine."""

    facts: Mapping[str, Any]
    loads: int
    load_s: float


@dataclass(frozen=True, slots=True)
class Account:
    """All uses of one batch. `forgotten_loads`: of uses beyond `USES_MAX`. `loads` and `load_s` are of all
    uses; of several loads without a request between them, each counts for as long as the last."""

    uses: tuple[Use, ...] = ()
    canary_tokens: int = 0
    forgotten_loads: int = 0
    loads: int = 0
    load_s: float = 0.0

    def to_meta(self) -> str:
        """As the journal keeps it."""
        return dumps(asdict(self)).decode()

    def digest_of(self, model: str) -> str:
        """What answered under this name last; empty where nothing did."""
        named = (use.facts["digest"] for use in reversed(self.uses) if use.facts["name"] == model)
        return str(next(named, ""))

    def used(
        self,
        loaded: Loaded,
        now: Mapping[str, object],
        new_loads: int,
        canary_tokens: int,
        server: str = "",
    ) -> "Account":
        """The account with this load in use. `new_loads` were made since the last entry, and proven."""
        facts = {**_facts(loaded), **{name: now[name] for name in _AROUND if name in now}}
        facts |= {"server": server} if server else {}
        known = next((use for use in self.uses if use.facts == facts), Use(facts, 0, 0.0))
        uses = (
            *(use for use in self.uses if use is not known),
            Use(facts, known.loads + new_loads, round(loaded.load_s, 3)),
        )
        forgotten = uses[:-USES_MAX]
        return replace(
            self,
            uses=uses[-USES_MAX:],
            canary_tokens=self.canary_tokens + canary_tokens,
            loads=self.loads + new_loads,
            load_s=round(self.load_s + new_loads * loaded.load_s, 3),
            forgotten_loads=self.forgotten_loads + sum(use.loads for use in forgotten),
        )


def agreed(answers: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Of each model the digest that most servers have; of equally common ones the first by its letters.

    So it does not depend on the order of the servers, nor on who of them answers while they are equal.
    """
    counts: dict[str, Counter[str]] = {}
    for digests in answers:
        for model, digest in digests.items():
            counts.setdefault(model, Counter())[digest] += 1
    return {model: min(found, key=lambda digest: (-found[digest], digest)) for model, found in counts.items()}


def account_of(meta: Mapping[str, str]) -> Account:
    """The account as it was kept; an empty one before the first use."""
    if USES not in meta:
        return Account()
    kept: dict[str, Any] = loads(meta[USES].encode())  # type: ignore[assignment]  # we wrote it
    return Account(tuple(Use(**use) for use in kept.pop("uses")), **kept)


def read_back(kept: str) -> Account | None:
    """An account found in a damaged journal; None for what only looks like one."""
    try:
        account = account_of({USES: kept})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    numbers = (account.loads, account.canary_tokens, account.forgotten_loads)
    is_whole = all(
        isinstance(use.facts, dict) and isinstance(use.facts.get("name"), str) and isinstance(use.loads, int)
        for use in account.uses
    )
    return account if account.uses and is_whole and all(isinstance(it, int) for it in numbers) else None


def latest(accounts: Iterable[Account]) -> Account:
    """Of several states of one account the last: it only ever grows."""
    return max(accounts, key=lambda it: (it.loads, it.canary_tokens, len(it.uses)), default=Account())


def render(account: Account, now: Mapping[str, object]) -> dict[str, object]:
    """What `metrics.json` says. `now` is true of the daemon that publishes; the latest use wins over it."""
    last = account.uses[-1].facts if account.uses else {}
    return {
        **now,
        **{name: last[name] for name in ("engine", "gpus") if name in last},
        "models": [{**use.facts, "loads": use.loads, "load_s": use.load_s} for use in account.uses],
        "forgotten_loads": account.forgotten_loads,
        "repeatable": _repeatable(account),
    }


def _repeatable(account: Account) -> str:
    """Whether the same batch would be answered alike, where `temperature` is 0 or a seed is given."""
    if any(use.facts["slots"] > 1 for use in account.uses):
        return NOT_REPEATABLE
    return REPEATABLE if len(account.uses) == 1 and not account.forgotten_loads else UNSURE


def _facts(loaded: Loaded) -> dict[str, object]:
    return {
        "name": loaded.model,
        "digest": loaded.digest,
        "quantization": loaded.quantization,
        "window_tokens": loaded.window_tokens,
        "slots": loaded.slots,
        "size_bytes": loaded.size_bytes,
        "gpu_bytes": loaded.gpu_bytes,
    }
