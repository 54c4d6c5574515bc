"""Profiles: what was calibrated on this machine, and what it advises for a load.

SUMMARY
    identity_of     what a profile is true for, as of now
    Advisor         before a load: the number of slots that is best for its window
    with_profiles   the engine, with what is known of it

    A profile whose model, engine or card was changed since is stale: it is said once, and not used.

DIAGNOSTICS
    Warning: a stale profile, a file that is none; once each.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from batchd.app.blocking import abandonable
from batchd.app.engines import ASK_TIMEOUT_S, Engine
from batchd.app.gauges import look_at_machine
from batchd.core.calibration import Identity, Profile, advised, from_json
from batchd.core.fault import ModelFault
from batchd.core.model import Load, ServerDescription
from batchd.core.readings import Reading
from batchd.edges import log
from batchd.edges.profiles import read_all
from batchd.settings import Settings

_GB = 10**9

#: Reads the cards; another one in tests.
Look = Callable[[], Reading]


def identity_of(model: str, digest: str, server: ServerDescription, reading: Reading) -> Identity:
    """Of this machine, this server and this model."""
    return Identity(
        model=model,
        digest=digest,
        engine=server.engine,
        version=server.version,
        mode=server.mode,
        gpus=tuple((card.name, card.driver, card.total_mib or 0) for card in reading.cards),
        memory_gb=0 if reading.cards else round((reading.memory_total_bytes or 0) / _GB),
    )


def read_profiles(directory: Path | None) -> list[Profile]:
    """All that can be read."""
    found = []
    for path, raw in read_all(directory) if directory is not None else ():
        try:
            found.append(from_json(raw))
        except ValueError as error:
            log.note("WARNING", "profile", f"{path.name} in {directory} is not used: {error}")
    return found


class Advisor:
    """The profiles of one directory. `slots`: the operator's own number; None: the profile may choose."""

    def __init__(
        self, directory: Path | None, engine: Engine, slots: int | None, look: Look = look_at_machine
    ) -> None:
        self._engine = engine
        self._slots = slots
        self._look = look
        self._profiles = read_profiles(directory)
        self._known: dict[str, Profile | None] = {}

    def __repr__(self) -> str:
        return f"Advisor({len(self._profiles)} profiles)"

    def slots_max(self) -> int:
        """The most that any load may have: what the house is built for."""
        if self._slots is not None:
            return self._engine.limits.slots
        named = [profile.slots for profile in self._profiles if profile.identity.engine == self._engine.name]
        return max(self._engine.limits.slots, *named) if named else self._engine.limits.slots

    async def advise(self, load: Load) -> Load:
        """The load to ask for. Without a profile it starts with what the engine starts with, and learns."""
        unadvised = replace(load, slots=min(load.slots, self._engine.limits.slots))
        if load.is_embedding or not self._profiles:
            return unadvised
        if load.model not in self._known:
            await self._find(load.model)
        profile = self._known.get(load.model)
        if profile is None:
            return unadvised
        return advised(profile, replace(load, slots=self._slots or load.slots))

    async def _find(self, model: str) -> None:
        """Enter the profile that is true now. A server that cannot be asked is asked again later."""
        ours = [profile for profile in self._profiles if profile.identity.model == model]
        if not ours:
            self._known[model] = None
            return
        described = await self._engine.server.describe(ASK_TIMEOUT_S)
        digests = await self._engine.server.digests([model], ASK_TIMEOUT_S)
        if isinstance(described, ModelFault) or isinstance(digests, ModelFault) or model not in digests:
            return
        reading = await abandonable(self._look)
        now = identity_of(model, digests[model], described, reading)
        for profile in ours:
            if not profile.identity.changes(now):
                fits = f"{profile.slots} slots x {profile.window_tokens:,} tokens"
                log.note("INFO", "profile", f"{model} is calibrated: {fits} are known to fit")
                self._known[model] = profile
                return
        self._known[model] = None
        why = "; ".join(ours[-1].identity.changes(now))
        again = f"run `batchd calibrate {model}`"
        log.note("WARNING", "profile", f"the calibration of {model} is stale: {why}; {again}")


def with_profiles(
    engines: Sequence[Engine], settings: Settings, look: Look = look_at_machine
) -> list[Engine]:
    """The same engines; a profile may give one more slots than it would begin with."""
    advisors = [(engine, Advisor(settings.profiles, engine, settings.slots, look)) for engine in engines]
    return [
        replace(
            engine,
            limits=replace(engine.limits, slots=advisor.slots_max()),
            advise=advisor.advise,
        )
        for engine, advisor in advisors
    ]
