"""Reload: the settings are read again while the daemon runs, and what may change does.

SUMMARY
    SIGHUP, or `systemctl reload`. All is validated before anything changes; a wrong file leaves the old
    settings in force. What can change an answer, or needs another model server, waits for a restart, and the
    log says so: each batch's results name one set of settings, and it must be true.

    Those of the daemon itself and of the intake hold at once, those of the work from the next batch on.

DIAGNOSTICS
    Warning: settings that are wrong, and settings that need a restart.
"""

from collections.abc import Callable, Mapping

from batchd.daemon.ports import Clock, ServiceManager
from batchd.edges import log
from batchd.errors import BatchdError
from batchd.settings import Settings

#: None of these can change an answer, and none needs another model server.
CHANGEABLE = frozenset(
    {
        "log_level",
        "drain_s",
        "settle_s",
        "archive_days",
        "input_bytes_max",
        "owner_bytes_max",
        "lines_max",
        "request_timeout_s",
        "give_up_s",
        "idle_unload_s",
        "attempts_max",
        "pilot",
        "enforce_window",
        "failed_share_max",
    }
)


class Reloading:
    """Holds the settings in force; call it to read them again."""

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        adopt: Callable[[Settings], None],
        service: ServiceManager,
        clock: Clock,
        is_ready: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._read = read
        self._adopt = adopt
        self._service = service
        self._clock = clock
        self._is_ready = is_ready

    def __call__(self) -> None:
        # READY=1 ends a reload, but before recovery is over it would end the start as well.
        is_told = self._is_ready()
        if is_told:
            self._service.reloading(self._clock.monotonic())
        try:
            self._reload()
        except BatchdError as error:
            why = f"{error.message} {error.next_step}"
            log.note("WARNING", "reload_refused", f"settings not reloaded, the old ones hold: {why}")
        finally:
            if is_told:
                self._service.ready()

    def _reload(self) -> None:
        wanted = self._read()
        before, after = (_flat(settings) for settings in (self._settings, wanted))
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        at_once = [name for name in changed if name in CHANGEABLE]
        self._settings = self._settings.model_copy(update={name: getattr(wanted, name) for name in at_once})
        self._adopt(self._settings)
        for name in changed:
            old, new = before.get(name), after.get(name)
            if name in at_once:
                log.note("INFO", "setting_changed", f"setting {name}: {old} -> {new}", setting=name)
            else:
                # The values are not told: one of them may be a secret.
                log.note("WARNING", "setting_waits", f"setting {name} changed: needs a restart", setting=name)
        if not changed:
            log.note("INFO", "setting_unchanged", "settings read again: nothing changed")


def _flat(settings: Settings) -> Mapping[str, object]:
    """Name to value, one level of sections below."""
    found: dict[str, object] = {}
    for name, value in settings.model_dump().items():
        if isinstance(value, dict) and name in ("ollama", "llamacpp"):
            found |= {f"{name}.{inner}": inner_value for inner, inner_value in value.items()}
        else:
            found[name] = value
    return found
