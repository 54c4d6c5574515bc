"""The sleep inhibitor, with programs that stand for systemd's."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from batchd.edges import inhibitor
from batchd.edges.inhibitor import SleepInhibitor

ECHO = (sys.executable, "-c", "import sys\nfor line in sys.stdin: print(line, end='', flush=True)")


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}", level="DEBUG")
    yield lines
    logger.remove(sink)


async def test_it_is_held_until_released_and_both_may_be_repeated() -> None:
    lock = SleepInhibitor(ECHO)
    states = []
    for step in (lock.hold, lock.hold, lock.release, lock.release, lock.hold, lock.release):
        await step()
        states.append(lock.is_held)
    assert states == [True, True, False, False, True, False]


async def test_it_lasts_as_long_as_our_end_of_the_pipe_and_no_longer(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    code = f"{ECHO[2]}\nopen({str(ended)!r}, 'w').close()"
    lock = SleepInhibitor((*ECHO[:2], code))
    await lock.hold()
    assert not ended.exists()
    await lock.release()
    assert ended.exists()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("no-such-program-anywhere",), "there is no program no-such-program-anywhere"),
        ((sys.executable, "-c", "import sys; sys.exit('Access denied')"), "Access denied"),
        ((sys.executable, "-c", "pass"), "it did not answer"),
    ],
)
async def test_a_machine_that_gives_no_lock_is_said_once_and_asked_again_after_the_work(
    said: list[str], command: tuple[str, ...], reason: str
) -> None:
    lock = SleepInhibitor(command)
    await lock.hold()
    await lock.hold()
    assert said == [f"DEBUG no lock against the sleep of this machine: {reason}\n"]
    assert not lock.is_held
    await lock.release()
    await lock.hold()
    assert len(said) == 2
    await lock.release()


async def test_one_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr(inhibitor, "TAKE_S", 0.05)
    monkeypatch.setattr(inhibitor, "LEAVE_S", 0.05)
    lock = SleepInhibitor((sys.executable, "-c", "import time; time.sleep(60)"))
    await lock.hold()
    assert said == ["DEBUG no lock against the sleep of this machine: it did not answer\n"]
    await lock.release()
