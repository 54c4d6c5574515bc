"""Outside: what the house stands on, built by whoever starts it.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchd.app.engines import Engine
from batchd.app.servers import Describe, Tell
from batchd.daemon.ports import Bell, Clock, Gauges, Schemas, ServiceManager, SleepInhibitor, Spool


@dataclass(frozen=True, slots=True)
class Outside:
    """The edges, built for this spool and these servers."""

    spool: Spool
    clock: Clock
    service: ServiceManager
    bell: Bell
    engines: Sequence[Engine]
    final_name: Callable[[bytes, str], str]
    new_batch_id: Callable[[], str]
    describe_model: Describe
    provenance: Tell
    gauges: Gauges
    inhibitor: SleepInhibitor
    schemas: Schemas
    pid: int
