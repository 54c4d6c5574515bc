"""Calibrated: one calibration from the settings to the files.

DIAGNOSTICS
    Fatal: UnavailableError when a batchd is at work on the spool; ConfigError for the directory of profiles.
"""

import sys
from pathlib import Path

from batchd.app.blocking import abandonable, to_its_end
from batchd.app.calibrate import OnStep, calibrate
from batchd.app.cards import cards_held
from batchd.app.engines import build_engine
from batchd.core.calibration import Profile, file_stem, key_text
from batchd.core.picture import draw
from batchd.edges import log
from batchd.edges.clock import SystemClock
from batchd.edges.evidence import Evidence
from batchd.edges.profiles import key_of, save
from batchd.errors import ConfigError, UnavailableError
from batchd.settings import Settings


async def calibrate_model(
    settings: Settings, model: str, minutes: float, on_step: OnStep
) -> tuple[Profile, Path]:
    """Measured, and written."""
    is_asked_for = "log_level" in settings.model_fields_set
    log.configure(settings.log_level if is_asked_for else "ERROR", sys.stderr, False)
    if await abandonable(_is_held, settings.spool):
        raise UnavailableError(
            f"A batchd is at work on {settings.spool}: two who load models would spoil the measurement.",
            "Stop it first (systemctl stop batchd), and start it again afterwards.",
        )
    if settings.profiles is None:
        raise ConfigError("No directory is set for profiles.", "Set BATCHD_PROFILES.")
    clock = SystemClock()
    engine = await build_engine(settings, clock)
    try:
        with await to_its_end(cards_held, settings, [engine]):
            profile = await calibrate(engine, settings, model, minutes, clock, on_step)
    finally:
        await engine.server.close()
    stem = file_stem(profile.identity, key_of(key_text(profile.identity)))
    path = await abandonable(save, settings.profiles, stem, profile.to_json(), draw(profile))
    return profile, path


def _is_held(spool: Path) -> bool:
    try:
        return Evidence.open(spool).is_held()
    except ConfigError:
        return False
