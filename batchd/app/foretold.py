"""Foretold: the rates at which the models of a file have worked on this machine, as far as anybody knows.

SUMMARY
    known_rates    by model: from the latest result in these outboxes, else from a calibration
    calibrated     the models of which there is a calibration, also one that could not tell the rates

    The server is not asked, so a model that was changed since is not noticed.

DIAGNOSTICS
    None: what cannot be read tells nothing.
"""

from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path

from batchd.app.profiles import read_profiles
from batchd.core.calibration import Profile
from batchd.core.forecast import Rates, rates_of_profile, rates_of_result
from batchd.core.json import loads
from batchd.edges.plain import METRICS_BYTES_MAX, read_plain
from batchd.settings import Settings

#: Results that are looked at, the latest first: an outbox that nobody collects from has thousands.
RESULTS_MAX = 100


def known_rates(settings: Settings, models: Set[str], outboxes: Sequence[Path]) -> dict[str, Rates]:
    """Of these models; one that is not in it is not known."""
    found: dict[str, Rates] = {}
    for rates in (*_of_results(outboxes), *_of(_profiles(settings))):
        if rates.model in models:
            found.setdefault(rates.model, rates)
    return found


def calibrated(settings: Settings) -> set[str]:
    """An attached Ollama that does not tell what it read leaves the rates of a calibration unknown."""
    return {profile.identity.model for profile in _profiles(settings)}


def _profiles(settings: Settings) -> list[Profile]:
    return read_profiles(settings.profiles) if settings.profiles is not None else []


def _of(profiles: list[Profile]) -> Iterator[Rates]:
    for profile in sorted(profiles, key=lambda profile: -profile.made_at):
        yield from rates_of_profile(profile)


def _of_results(outboxes: Sequence[Path]) -> Iterator[Rates]:
    places: list[tuple[float, Path]] = []
    for outbox in outboxes:
        with suppress(OSError):
            places += [(path.stat().st_mtime, path) for path in outbox.glob("*/metrics.json")]
    for _, path in sorted(places, reverse=True)[:RESULTS_MAX]:
        with suppress(OSError, ValueError):
            yield from rates_of_result(loads(read_plain(path, METRICS_BYTES_MAX)))
