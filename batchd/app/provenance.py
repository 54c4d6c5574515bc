"""Provenance: who answered, with what, on which machine: enough to cite a result and to repeat it.

SUMMARY
    Goes into `metrics.json` and, in short, into the status.

DIAGNOSTICS
    None: what is not known is null.
"""

import platform
from collections.abc import Mapping

from batchd import __version__
from batchd.app.engines import Engine
from batchd.core.serverstate import State
from batchd.core.status import ModelStatus
from batchd.daemon.supervisor import Supervisor
from batchd.edges.gpu import read_cards
from batchd.edges.memory import resident_bytes

#: The supervisor's states in the words of the status.
_WORDS: Mapping[State, str] = {
    State.READY: "resident",
    State.BUSY: "resident",
    State.CANARY: "loading",
    State.SUSPECT: "cooling",
    State.RESTARTING: "cooling",
}


def describe_model(engine: Engine, supervisor: Supervisor) -> ModelStatus:
    """What the status shows of the model."""
    standing = supervisor.standing
    loaded = standing.loaded
    return ModelStatus(
        engine=engine.name,
        address=engine.address,
        state=_WORDS.get(standing.state, standing.state.value),
        model=loaded.model if loaded else None,
        window_tokens=loaded.window_tokens if loaded else None,
        slots=loaded.slots if loaded else None,
        detail=standing.detail if loaded is None else "",
        next_try_at=standing.next_try_at,
        user=" and ".join(supervisor.description.users) if supervisor.description else "",
    )


def provenance(engine: Engine, supervisor: Supervisor) -> dict[str, object]:
    """What is true now of us, the engine and the machine. Which models a batch used, its journal tells."""
    server = supervisor.description
    cards, trouble = read_cards()
    return {
        "batchd": __version__,
        "engine": {
            "name": engine.name,
            "version": server.version if server else None,
            "mode": server.mode if server else None,
            "prompt_cache_mib": engine.prompt_cache_mib,
        },
        "gpus": None
        if trouble
        else [{"name": card.name, "driver": card.driver, "memory_mb": card.total_mib} for card in cards],
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "memory": {"daemon_anonymous_bytes": resident_bytes()},
    }
