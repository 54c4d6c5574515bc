"""Where Ollama's models lie on this machine, and whether we may read them.

SUMMARY
    own_place       where an own server would look: a directory that is named, $OLLAMA_MODELS, or the home's
    user_name       who would read them
    other_places    where Ollama's installer has put the models of its service: another user's home

DIAGNOSTICS
    None: a directory that may not be entered is a fact.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from batchd.core.doctor.server import ModelPlace

#: The home of the user that the official installer makes for its service, and that of some packages.
SERVICE_PLACES = (Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/models"))


def user_name() -> str:
    """Ours."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def own_place(environment: Mapping[str, str], named: str | None) -> ModelPlace:
    """A name in the settings wins over the environment, and that over the home."""
    stated = named or environment.get("OLLAMA_MODELS")
    return look_at(
        Path(stated) if stated else Path(environment.get("HOME") or Path.home()) / ".ollama/models"
    )


def other_places(own: ModelPlace, places: tuple[Path, ...] = SERVICE_PLACES) -> list[ModelPlace]:
    """Those of the known places that are there, as far as one can tell."""
    found = [look_at(place) for place in places if str(place) != own.path]
    return [place for place in found if place.exists]


def look_at(path: Path) -> ModelPlace:
    """What this user sees of it. A directory behind a closed one counts as existing: nobody can tell."""
    blocked = _blocked_at(path / "manifests")
    return ModelPlace(
        path=str(path),
        exists=blocked is not None or path.is_dir(),
        has_models=blocked is None and _has_models(path),
        owner=_owner(blocked or path),
        blocked_at="" if blocked is None else str(blocked),
    )


def _blocked_at(path: Path) -> Path | None:
    """The outermost directory on the way that we may not enter, or not list where that is the last one."""
    for place in (*reversed(path.parents), path):
        try:
            place.lstat()
        except PermissionError:
            return place.parent
        except OSError:
            return None  # it ends here
        if not os.access(place, os.X_OK | (os.R_OK if place == path else 0)):
            return place
    return None


def _has_models(path: Path) -> bool:
    """A manifest, and blobs that we may read."""
    manifest = next((item for item in (path / "manifests").rglob("*") if item.is_file()), None)
    blobs = path / "blobs"
    return manifest is not None and os.access(manifest, os.R_OK) and os.access(blobs, os.R_OK | os.X_OK)


def _owner(path: Path) -> str:
    try:
        return pwd.getpwuid(path.stat().st_uid).pw_name
    except (KeyError, OSError):
        return ""
