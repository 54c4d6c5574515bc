"""The GPU, as NVIDIA's driver sees it.

SUMMARY
    `read_cards` gives every card, or none and the reason; `card_ids` their UUIDs. All of it is optional: no
    card, no driver, another maker's card or a sandbox without devices are no trouble, and the house works on
    with what the model server says. The library is opened for each reading: a driver that was reloaded
    answers "unknown error" to old sessions for ever, and an open session would keep the driver from being
    unloaded.

    A driver may hang in the kernel, where no signal reaches it. So each question has a deadline, and is asked
    in a thread that nobody has to wait for, not even the end of the process. There is one at most: while it
    hangs, the answer is at once that the driver hangs.

DIAGNOSTICS
    None raised: what a card does not tell is None; a driver that fails or hangs is no card, and a text.
"""

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from batchd.core.readings import Card

_T = TypeVar("_T")

_BYTES_PER_MIB = 2**20

#: The longest that anybody waits for the driver. One without persistence mode wakes its cards first, which
#: takes seconds where there are many.
ANSWER_S = 10.0

#: The driver writes here when it is loaded, also where a sandbox has hidden the cards.
DRIVER_VERSION = Path("/proc/driver/nvidia/version")

#: There is nobody to ask: the usual case on a machine without such a card.
_NOBODY = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)


def read_cards(pids: Collection[int] = (), limit_s: float = ANSWER_S) -> tuple[tuple[Card, ...], str]:
    """Every card in the driver's order, and why there is none. `pids`: the processes whose share is ours."""

    def look() -> tuple[Card, ...]:
        with _session():
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            return tuple(_card(number, driver, pids) for number in range(pynvml.nvmlDeviceGetCount()))

    try:
        return _DRIVER.asked(look, limit_s), ""
    except _DriverHangsError:
        return (), "NVIDIA's driver hangs"
    except pynvml.NVMLError as error:
        is_nobody = error.value in _NOBODY and not DRIVER_VERSION.exists()
        return (), "" if is_nobody else f"NVIDIA's driver does not answer: {error}"


def card_ids(limit_s: float = ANSWER_S) -> tuple[str, ...]:
    """The UUID of every card in the driver's order; none where nobody can be asked."""

    def look() -> tuple[str, ...]:
        with _session():
            numbers = range(pynvml.nvmlDeviceGetCount())
            return tuple(
                _text(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(number)))
                for number in numbers
            )

    try:
        return _DRIVER.asked(look, limit_s)
    except (_DriverHangsError, pynvml.NVMLError):
        return ()


class _DriverHangsError(Exception):
    """It did not answer in time."""


class _Driver:
    """Asks one question at a time, each in a thread of its own."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._knowing = threading.Lock()
        self._hangs = False

    def asked(self, look: Callable[[], _T], limit_s: float) -> _T:
        """What it says within this time; _DriverHangsError when that is nothing."""
        if self._hangs or not self._turn.acquire(timeout=limit_s):
            raise _DriverHangsError
        answer: Future[_T] = Future()

        def call() -> None:
            try:
                answer.set_result(look())
            except BaseException as error:  # noqa: BLE001 - it travels to whoever waits
                answer.set_exception(error)
            finally:
                with self._knowing:
                    self._hangs = False
                self._turn.release()

        threading.Thread(target=call, name="nvml", daemon=True).start()
        try:
            return answer.result(limit_s)
        except TimeoutError:
            with self._knowing:
                self._hangs = not answer.done()
            raise _DriverHangsError from None


_DRIVER = _Driver()


@contextlib.contextmanager
def _session() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _card(number: int, driver: str, pids: Collection[int]) -> Card:
    card = pynvml.nvmlDeviceGetHandleByIndex(number)
    memory = _told(lambda: pynvml.nvmlDeviceGetMemoryInfo(card))
    power_mw = _told(lambda: pynvml.nvmlDeviceGetPowerUsage(card))
    energy_mj = _told(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(card))
    return Card(
        name=_text(pynvml.nvmlDeviceGetName(card)),
        driver=driver,
        total_mib=None if memory is None else memory.total // _BYTES_PER_MIB,
        used_mib=None if memory is None else memory.used // _BYTES_PER_MIB,
        ours_mib=_told(lambda: _ours(card, pids)),
        power_w=None if power_mw is None else power_mw / 1_000,
        energy_j=None if energy_mj is None else energy_mj / 1_000,
    )


def _ours(card: Any, pids: Collection[int]) -> int | None:
    """In a container the driver counts processes by other numbers, or tells no sizes: then nobody knows."""
    sizes = [
        item.usedGpuMemory for item in pynvml.nvmlDeviceGetComputeRunningProcesses(card) if item.pid in pids
    ]
    known = [size for size in sizes if size is not None]
    return sum(known) // _BYTES_PER_MIB if known else None


def _told(ask: Callable[[], Any]) -> Any:
    """None where this card does not know such a thing, as integrated ones do; a lost driver is an error."""
    try:
        return ask()
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission, pynvml.NVMLError_FunctionNotFound):
        return None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
