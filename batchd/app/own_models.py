"""Own models: whether an Ollama of ours could read the models that are on this machine.

SUMMARY
    look_at_models      the finding, for the doctor
    refuse_unreadable   the same as an error, for whoever is about to start an own server

DIAGNOSTICS
    Fatal: ConfigError with the command that helps; only from `refuse_unreadable`.
"""

from collections.abc import Mapping
from pathlib import Path

from batchd.core.doctor.finding import Finding, Verdict
from batchd.core.doctor.server import judge_places
from batchd.edges.ollama_server.models import SERVICE_PLACES, other_places, own_place, user_name
from batchd.errors import ConfigError


def look_at_models(
    mode: str,
    environment: Mapping[str, str],
    models_dir: Path | None,
    places: tuple[Path, ...] = SERVICE_PLACES,
) -> Finding | None:
    """None where there are no models on this machine."""
    own = own_place(environment, None if models_dir is None else str(models_dir))
    return judge_places(mode, own, other_places(own, places), user_name())


def refuse_unreadable(
    environment: Mapping[str, str], models_dir: Path | None, places: tuple[Path, ...] = SERVICE_PLACES
) -> None:
    """An own server that knows no model would fail every request, one by one."""
    finding = look_at_models("own", environment, models_dir, places)
    if finding is not None and finding.verdict is Verdict.PROBLEM:
        raise ConfigError(finding.saw, f"{finding.means} Type: {finding.step}")
