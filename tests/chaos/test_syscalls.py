"""System calls fail: the daemon goes on, or ends with a sentence; after a restart everything completes.

SUMMARY
    strace makes the n-th call of a kind fail. BATCHD_TEST_FAULTS is how many faults are to strike,
    BATCHD_TEST_SEED their seed.
"""

import contextlib
import os
import random
import re
import select
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blows import state
from tests.chaos.nursery import Nursery
from tests.chaos.tally import tally
from tests.chaos.world import WAIT_S, World

FAULTS = int(os.environ.get("BATCHD_TEST_FAULTS", "50"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))

CALLS = (
    "fdatasync",
    "fsync",
    "pwrite64",
    "write",
    "renameat2",
    "rename",
    "openat",
    "mkdirat",
    "unlinkat",
    "pread64",
    "fstatfs",
    "getdents64",
)
ERRORS = ("EIO", "ENOSPC", "EINTR", "EDQUOT")

#: A batch of a few lines makes about so many calls of each kind.
NTH_MAX = {"fdatasync": 25, "fsync": 20, "pwrite64": 60, "write": 60, "openat": 60, "unlinkat": 12}
NTH_OTHERS = 6

#: Calls that fail at the same time, each of another kind.
FAULTS_PER_BATCH = 4

#: Calls are counted by thread, so that in a step which has a thread of its own each try meets the fault anew.
#: So long the disk stays so; when it is mended, there is an end or a result within the other time.
BROKEN_S = 10.0
STRIKE_S = 25.0

#: What loguru says when standard error itself refuses a line; that is no trouble of ours.
_LOG_TROUBLE = re.compile(r"--- Logging error in Loguru.*?--- End of logging error ---", re.DOTALL)


@contextlib.contextmanager
def failing(pid: int, faults: dict[str, tuple[str, int]], said: Path) -> Iterator[None]:
    """While the block lasts, the n-th call of these kinds fails in this process."""
    injections = [f"inject={call}:error={error}:when={nth}" for call, (error, nth) in faults.items()]
    options = [part for injection in injections for part in ("-e", injection)]
    command = ["strace", "-f", "-o", str(said), "-e", f"trace={','.join(faults)}", *options, "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    ready, _, _ = select.select([tracer.stderr], [], [], WAIT_S)
    first = os.read(tracer.stderr.fileno(), 4096).decode() if ready else ""
    if "attached" not in first:
        tracer.kill()
        tracer.wait(WAIT_S)
        tracer.stderr.close()
        if state(pid) not in ("", "Z", "X"):
            pytest.skip(f"strace may not attach here: {first.strip()}")
        yield  # what failed before ends it only now
        return
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            tracer.send_signal(signal.SIGINT)
        tracer.wait(WAIT_S)
        tracer.stderr.close()


def chosen(chance: random.Random) -> dict[str, tuple[str, int]]:
    calls = chance.sample(CALLS, FAULTS_PER_BATCH)
    return {call: (chance.choice(ERRORS), chance.randint(1, NTH_MAX.get(call, NTH_OTHERS))) for call in calls}


def has_outcome(world: World, batch_id: str, wait_s: float) -> bool:
    """Whether the daemon ended, or the batch is published and put away, within this time."""
    until = time.perf_counter() + wait_s
    while world.daemon.poll() is None and not (world.is_published(batch_id) and world.is_tidy()):
        if time.perf_counter() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.timeout(60 + 2 * FAULTS)
def test_whatever_call_fails_the_daemon_goes_on_or_ends_with_a_sentence(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    chance = random.Random(SEED)
    struck: Counter[str] = Counter()
    ends: Counter[int] = Counter()
    with (
        Nursery() as nursery,
        World(tmp_path, nursery, obeys=False) as world,
        tally("system calls", SEED, world.books),
    ):
        world.start()
        while struck.total() < FAULTS:
            world.finish()
            faults, said = chosen(chance), tmp_path / "strace"
            log_from = len(world.log_path.read_bytes())
            with failing(world.daemon.pid, faults, said):
                batch_id = world.drop(6)
                has_outcome(world, batch_id, BROKEN_S)
            is_over = has_outcome(world, batch_id, STRIKE_S)
            assert is_over, f"{faults}: neither end nor result\n{world.hang()}"
            for call in re.findall(r"(\w+)\([^\n]*\(INJECTED\)", said.read_text(errors="replace")):
                struck[call] += 1
                world.books.blows += 1
            log = _LOG_TROUBLE.sub("", world.log_path.read_bytes()[log_from:].decode(errors="replace"))
            assert "Traceback" not in log, f"seed {SEED}, {faults}\n{log[-5000:]}"
            assert "A bug in batchd" not in log, f"seed {SEED}, {faults}\n{log[-5000:]}"
            assert not list(tmp_path.glob("*.trace")), f"seed {SEED}, {faults}"
            if (code := world.daemon.poll()) is not None:
                assert code == 1, f"seed {SEED}, {faults}: ended with {code}\n{log[-5000:]}"
                ends[code] += 1
                world.start()
        world.finish()
        world.check()
    print(f"{struck.total()} faults, {dict(struck)}, {ends.total()} ends, seed {SEED}")
