"""The sleep inhibitor: while there is work, the machine does not suspend by itself.

SUMMARY
    `hold` starts systemd's own `systemd-inhibit` around a `cat` that waits for our input; the lock lasts as
    long as that pair, so it ends with us however we end. `release` closes their input. Repeating either is
    fine. A person can suspend all the same, by force.

    `may_suspend` says whether the machine would sleep at all.

    logind asks polkit; a service without a session may be refused, and many servers have no logind at all.
    Either is normal, and is not tried again for a while.

DIAGNOSTICS
    Warning: none; a lock that cannot be had is said once, at debug.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from loguru import logger

COMMAND = (
    "systemd-inhibit",
    "--what=sleep",
    "--who=batchd",
    "--why=A batch is running",
    "--mode=block",
    "cat",
)

#: Nothing of ours: who finds NOTIFY_SOCKET may tell systemd things in our name.
_ENVIRONMENT = {"PATH": os.defpath}

#: logind answers within milliseconds; polkit may start a service first.
TAKE_S = 10.0

#: A closed input ends it at once.
LEAVE_S = 5.0

#: What the kernel offers besides `disk`, which needs a swap space and a person.
_SLEEPS = frozenset({"mem", "standby", "freeze"})

#: What it says when it fails is one line.
_SAID_BYTES_MAX = 2_000


class SleepInhibitor:
    """The port of the same name."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._child: asyncio.subprocess.Process | None = None
        self._is_refused = False

    def __repr__(self) -> str:
        state = "refused" if self._is_refused else "held" if self.is_held else "free"
        return f"SleepInhibitor({state})"

    @property
    def is_held(self) -> bool:
        """Whether the lock is ours now."""
        return self._child is not None and self._child.returncode is None

    async def hold(self) -> None:
        """Take the lock, if it can be had. A refusal stands until `release`."""
        if self.is_held or self._is_refused:
            return
        if (program := shutil.which(self._command[0])) is None:
            self._refused(f"there is no program {self._command[0]}")
            return
        try:
            self._child = await asyncio.create_subprocess_exec(
                program,
                *self._command[1:],
                env=_ENVIRONMENT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us, who then release it
            )
        except OSError as error:
            self._refused(error.strerror or str(error))
            return
        if not await self._echoes(self._child):
            await self._explain(self._child)

    async def release(self) -> None:
        """Let the machine sleep again."""
        child, self._child, self._is_refused = self._child, None, False
        if child is not None:
            await _end(child)

    async def _echoes(self, child: asyncio.subprocess.Process) -> bool:
        """`cat` runs only once the lock is taken: one line through it is the proof."""
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            async with asyncio.timeout(TAKE_S):
                child.stdin.write(b"\n")
                return await child.stdout.readline() == b"\n"
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            return False

    async def _explain(self, child: asyncio.subprocess.Process) -> None:
        self._child = None
        said = b""
        if child.stderr is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S if child.returncode is not None else 0.5):
                    said = await child.stderr.read(_SAID_BYTES_MAX)
        await _end(child)
        self._refused(said.decode(errors="replace").strip() or "it did not answer")

    def _refused(self, reason: str) -> None:
        self._is_refused = True
        logger.bind(event="inhibitor").debug("no lock against the sleep of this machine: {}", reason)


async def _end(child: asyncio.subprocess.Process) -> None:
    """By the end of its input, else by force."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(LEAVE_S):
            await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def may_suspend(root: Path = Path("/")) -> bool:
    """Whether the kernel can, and systemd's target is not masked."""
    try:
        offered = (root / "sys/power/state").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    mask = root / "etc/systemd/system/sleep.target"
    is_masked = mask.is_symlink() and str(mask.readlink()) == "/dev/null"
    return not _SLEEPS.isdisjoint(offered) and not is_masked
