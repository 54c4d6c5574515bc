"""The gauges of this machine: one reading, in time or not at all."""

import asyncio
import threading
from pathlib import Path

import pytest

from batchd.app.gauges import MachineGauges, look_at_machine, programs_of
from batchd.core.readings import Reading
from batchd.settings import Settings


async def test_this_machine_has_memory_and_says_so_in_time() -> None:
    reading = await MachineGauges().read(30.0)
    assert reading is not None
    assert reading.memory_total_bytes is not None
    assert reading.suspended_s is not None
    assert reading.server_bytes is None, "nothing of ours runs"


async def test_gauges_that_hang_are_not_waited_for_and_not_asked_twice() -> None:
    hangs, asked = threading.Event(), []

    def look(programs: object) -> Reading:
        asked.append(programs)
        hangs.wait(60)
        return Reading(stalled_share=0.5)

    gauges = MachineGauges(look=look)
    assert await gauges.read(0.05) is None
    assert await gauges.read(0.05) is None
    assert len(asked) == 1
    hangs.set()
    while await gauges.read(5.0) is None:  # noqa: ASYNC110 - the hung one ends in its own time
        await asyncio.sleep(0.01)
    assert len(asked) == 2


def test_the_blocking_look_is_the_same() -> None:
    assert look_at_machine().memory_total_bytes is not None


@pytest.mark.parametrize(
    ("settings", "programs"),
    [
        ({"engine": "ollama"}, ("ollama",)),
        ({"engine": "ollama", "ollama": {"host": "[::1]:11434"}}, ("ollama",)),
        ({"engine": "ollama", "ollama": {"host": "127.0.0.2:11434"}}, ("ollama",)),
        ({"engine": "ollama", "ollama": {"host": "gpu.example:11434"}}, ()),
        ({"engine": "llamacpp"}, ()),
        ({"engine": "llamacpp", "llamacpp": {"url": "http://localhost:8080"}}, ("llama-server",)),
        ({"engine": "llamacpp", "llamacpp": {"url": "http://gpu.example:8080"}}, ()),
    ],
)
def test_a_server_that_others_started_is_looked_for_only_where_it_is(
    tmp_path: Path, settings: dict[str, object], programs: tuple[str, ...]
) -> None:
    assert programs_of(Settings(spool=tmp_path, **settings)) == programs  # type: ignore[arg-type]  # as parsed
