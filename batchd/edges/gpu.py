"""The GPU, as NVIDIA's driver sees it: readings for the provenance.

SUMMARY
    All of it is optional: no card, no driver, another maker's card or a sandbox without devices give None,
    and the house works on with what the model server says. The library is opened for each reading: a driver
    that was reloaded answers "unknown error" to old sessions for ever.

DIAGNOSTICS
    None: trouble is no reading.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pynvml

_BYTES_PER_MB = 2**20


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One card. Megabytes are of 2^20 bytes, as the driver's own tools print them."""

    name: str
    driver: str
    total_mb: int


def read_gpus() -> Sequence[GpuReading] | None:
    """Every card, in the driver's order; None when there is nobody to ask."""
    try:
        with _session():
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            return [_reading(index, driver) for index in range(pynvml.nvmlDeviceGetCount())] or None
    except pynvml.NVMLError:
        return None


@contextlib.contextmanager
def _session() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _reading(index: int, driver: str) -> GpuReading:
    card = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(card)
    return GpuReading(
        name=_text(pynvml.nvmlDeviceGetName(card)),
        driver=driver,
        total_mb=memory.total // _BYTES_PER_MB,
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
