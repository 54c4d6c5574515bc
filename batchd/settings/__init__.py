"""Settings: what the operator decided, from flags, environment and TOML, in one frozen value.

SUMMARY
    The landing of the stairs, and the only reader of environment and TOML. The first that names a key wins:

        flag           handed in by the command line
        environment    BATCHD_SLOTS=8; nested with two underscores: BATCHD_OLLAMA__MODE=own
        file           --config FILE, else /etc/batchd/batchd.toml if it is there
        default        `settings/model`; the spool's and Ollama's address depend on the machine

    `sources` tells for each name where its value came from. `surroundings` reads what the environment says
    and nobody decided.

DIAGNOSTICS
    Fatal: ConfigError for an unknown name, a value out of range, or a file that cannot be read.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, SecretStr, ValidationError

from batchd.errors import ConfigError
from batchd.settings.layers import environment_layer, file_layer, flag_layer, nested
from batchd.settings.model import LlamacppSettings, OllamaSettings, Settings

__all__ = [
    "LlamacppSettings",
    "OllamaSettings",
    "Origin",
    "Settings",
    "Surroundings",
    "environment",
    "load_settings",
    "sources",
    "surroundings",
    "without_settings",
]

SYSTEM_CONFIG = Path("/etc/batchd/batchd.toml")
SYSTEM_SPOOL = Path("/var/spool/batchd")
SYSTEM_LOCKS = Path("/run/lock")
SERVICE_LOCKS = Path("/run/batchd")


@dataclass(frozen=True, slots=True)
class Origin:
    """One effective value, ready to be shown, and where it came from: flag, environment, file, default."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the environment says that nobody decided: systemd's variables, and where caches go."""

    notify_socket: str | None
    watchdog_usec: str | None
    watchdog_pid: str | None
    journal_stream: str | None
    xdg_cache_home: Path


def load_settings(
    flags: Mapping[str, object], config_file: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """The effective settings. Flags are dotted names (`ollama.mode`); one that is None was not given."""
    layers = _layers(flags, config_file, os.environ if environ is None else environ)
    return _validated(_effective(layers))


def sources(
    flags: Mapping[str, object], config_file: Path | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Origin, ...]:
    """Where each value came from, also while a value is wrong; secrets are masked."""
    layers = _layers(flags, config_file, os.environ if environ is None else environ)
    effective = _effective(layers)
    try:
        values = dict(_flat(_validated(effective)))
    except ConfigError:
        values = {name: value for name, (value, _) in effective.items()}
    return tuple(
        Origin(name, _shown(name, values.get(name)), effective[name][1] if name in effective else "default")
        for name in _TYPES
    )


def surroundings(environ: Mapping[str, str] | None = None) -> Surroundings:
    """The environment's own facts."""
    env = os.environ if environ is None else environ
    return Surroundings(
        notify_socket=env.get("NOTIFY_SOCKET") or None,
        watchdog_usec=env.get("WATCHDOG_USEC") or None,
        watchdog_pid=env.get("WATCHDOG_PID") or None,
        journal_stream=env.get("JOURNAL_STREAM") or None,
        xdg_cache_home=_xdg(env, "XDG_CACHE_HOME", ".cache"),
    )


def environment() -> Mapping[str, str]:
    """All of it, for what reads another program's variables."""
    return os.environ


def without_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a batchd of our own that shall be decided by its file alone."""
    env = os.environ if environ is None else environ
    return {name: value for name, value in env.items() if not name.startswith("BATCHD_")}


def default_spool(environ: Mapping[str, str], system_spool: Path = SYSTEM_SPOOL) -> Path:
    """The system's spool where systemd made one, else the user's."""
    if system_spool.is_dir():
        return system_spool
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "batchd" / "spool"


def default_profiles(environ: Mapping[str, str], system_spool: Path = SYSTEM_SPOOL) -> Path:
    """Where this machine's calibrations lie: the daemon of the system may only write below its spool."""
    if system_spool.is_dir():
        return system_spool / "profiles"
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "batchd" / "profiles"


def default_card_locks(
    environ: Mapping[str, str],
    places: Sequence[Path] | None = None,
    service: Path = SERVICE_LOCKS,
) -> tuple[Path, ...]:
    """Where to lock, and then where else to look; where there is no place, nothing is locked.

    The service has a directory of its own from systemd. Anybody else takes one that all users of this machine
    share, where who comes first can keep out who comes later.
    """
    places = _shared_places() if places is None else places
    if str(service) in environ.get("RUNTIME_DIRECTORY", "").split(":"):
        return service, places[0]
    own = Path(environ.get("XDG_RUNTIME_DIR", ""))
    tried = (*places[:1], *([own] if own.is_absolute() else []), *places[1:])
    may = (place for place in tried if place.is_dir() and os.access(place, os.W_OK | os.X_OK))
    return next(((place, service) for place in may), ())


def _shared_places() -> tuple[Path, ...]:
    try:
        return SYSTEM_LOCKS, Path(tempfile.gettempdir())
    except OSError:  # there is none that anything can be written to
        return (SYSTEM_LOCKS,)


def config_path(config_file: Path | None, system_config: Path = SYSTEM_CONFIG) -> Path | None:
    """The file to read, if any."""
    if config_file is not None:
        return config_file
    return system_config if system_config.exists() else None


def _types(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, object]]:
    """(dotted name, type) of every setting."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _types(kind, f"{above}{name}.")
        else:
            yield above + name, kind


def _flat(model: BaseModel, above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in model:
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


_TYPES = dict(_types(Settings))
_TABLES = frozenset(name for name, kind in _TYPES.items() if getattr(kind, "__origin__", None) is dict)
_SECRETS = frozenset(name for name, kind in _TYPES.items() if "SecretStr" in str(kind))

#: Of an address; it is refused, and shown in the sentence that says so.
_PASSWORD = re.compile(r"//[^/]*@")

#: Ollama's own variable: nobody set it for us.
_FOREIGN = "environment OLLAMA_HOST"

#: (where from, what it says), the first wins.
_Layers = tuple[tuple[str, Mapping[str, object]], ...]


def _layers(flags: Mapping[str, object], config_file: Path | None, environ: Mapping[str, str]) -> _Layers:
    path = config_path(config_file)
    machine: dict[str, object] = {
        "spool": default_spool(environ),
        "profiles": default_profiles(environ),
        "card_locks": default_card_locks(environ),
    }
    host = environ.get("OLLAMA_HOST", "").strip(" \"'")
    return (
        ("flag", flag_layer(flags, _TYPES)),
        ("environment", environment_layer(environ, _TYPES, _TABLES)),
        (f"file {path}", file_layer(path, _TYPES)),
        (_FOREIGN, {"ollama.host": host} if host else {}),
        ("default", machine),
    )


def _effective(layers: _Layers) -> dict[str, tuple[object, str]]:
    """Name to (raw value, where from)."""
    found = {name: (value, source) for source, layer in reversed(layers) for name, value in layer.items()}
    if "ollama.hosts" in found and found.get("ollama.host", ("", ""))[1] == _FOREIGN:
        del found["ollama.host"]
    return found


def _validated(effective: Mapping[str, tuple[object, str]]) -> Settings:
    try:
        return Settings(**nested({name: value for name, (value, _) in effective.items()}))
    except ValidationError as error:
        wrong = [_sentence(item["loc"], item["msg"], effective) for item in error.errors()]
        raise ConfigError(
            " ".join(wrong), "`batchd config` shows every setting and where it came from."
        ) from None  # pydantic's own text repeats the values, and one may be a secret


def _sentence(
    location: tuple[int | str, ...], message: str, effective: Mapping[str, tuple[object, str]]
) -> str:
    name = ".".join(str(part) for part in location)
    known = next((known for known in _TYPES if name == known or name.startswith(known + ".")), "")
    said = message.removeprefix("Value error, ").rstrip(".")
    if not known:
        return f"{said}."
    value, source = effective.get(known, (None, "default"))
    return f"Setting '{name}' ({_shown(known, value)}, from {source}): {said[:1].lower()}{said[1:]}."


def _shown(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name in _SECRETS or isinstance(value, SecretStr):
        return "********"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(name, item) for item in value) or "-"
    if isinstance(value, bool):
        return str(value).lower()
    return _PASSWORD.sub("//********@", str(value))


def _xdg(environ: Mapping[str, str], name: str, below_home: str) -> Path:
    # The XDG rules: a relative path in these variables is to be ignored.
    stated = Path(environ.get(name, ""))
    return stated if stated.is_absolute() else Path(environ.get("HOME") or Path.home()) / below_home
