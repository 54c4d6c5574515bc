"""Outside: what the house stands on, built by whoever starts it.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from batchd.app.engines import as_wished
from batchd.core.model import Load
from batchd.core.status import ModelStatus
from batchd.daemon.ports import Bell, Clock, Gauges, ModelServer, ServiceManager, SleepInhibitor, Spool
from batchd.daemon.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Outside:
    """The edges, built for this spool and this server."""

    spool: Spool
    clock: Clock
    service: ServiceManager
    bell: Bell
    server: ModelServer
    final_name: Callable[[bytes, str], str]
    new_batch_id: Callable[[], str]
    describe_model: Callable[[Supervisor], ModelStatus]
    provenance: Callable[[Supervisor], dict[str, object]]
    gauges: Gauges
    inhibitor: SleepInhibitor
    pid: int
    advise: Callable[[Load], Awaitable[Load]] = as_wished
    forget: Callable[[str], None] = lambda batch_id: None  # tells the engine that a batch is done
