"""UnitLog: what the service of an attached Ollama writes into the journal of this machine, read along.

SUMMARY
    UnitLog    follows the journal of one unit with `journalctl`, from the first load on

    Attached on this machine, batchd sees no log of the server but the journal's. Who may read it (root, the
    groups systemd-journal and adm) gets exact counts by it, as from an own server's log; for everybody else
    it stays empty, and after a few answers that are not there nothing is asked of it any more. The journal
    comes up to a quarter of a second after the answer, so nobody waits for it in a slot.

    One thread reads the lines, and hands over the few that tell something. The server is not touched.

DIAGNOSTICS
    None: no journalctl, no permission, a journal that drops lines, another unit's server: the counts are
    unknown. It is said once, with what helps.
"""

import asyncio
import os
import shutil
import subprocess
import threading
from contextlib import suppress

from loguru import logger

from batchd.edges.ollama_server.timings import LINE_CHARS_MAX, Timings, is_telling

#: journald tells its readers of news after a quarter of a second at most; the rest is for a busy machine.
WAIT_S = 2.0

#: How long journalctl may take to end when it is asked to.
END_S = 2.0

#: A longer line is read in pieces: nothing that another program logs grows in memory.
PIECE_CHARS_MAX = 4 * LINE_CHARS_MAX

#: The lines of this unit, from now on, and nothing but what the program wrote.
_COMMAND = ("--follow", "--lines=0", "--quiet", "--no-pager", "--no-hostname", "--output=cat")

#: Nothing of ours: with NOTIFY_SOCKET, journalctl would tell systemd that it is ready.
_ENVIRONMENT = {"PATH": os.defpath}


class UnitLog:
    """The journal of `unit`."""

    def __init__(self, unit: str, program: str = "journalctl", wait_s: float = WAIT_S) -> None:
        self._unit = unit
        self._program = program
        self._timings = Timings(wait_s)
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._is_said = self._is_stopped = False

    def __repr__(self) -> str:
        return f"<UnitLog of {self._unit}: {self._timings!r}>"

    def follow(self) -> None:
        """Begin to read. Before the first request, so that its line is not missed; again does nothing."""
        if self._thread is not None or self._is_stopped:
            return
        loop = asyncio.get_running_loop()
        # A daemon: where journalctl cannot be ended, it must not keep our own process.
        self._thread = threading.Thread(
            target=self._read, args=(loop,), name=f"journal of {self._unit}", daemon=True
        )
        self._thread.start()

    def evaluated_tokens(self, prefill_s: float, decode_s: float | None) -> "asyncio.Future[int | None]":
        """What was read for the answer with these durations; None where the journal does not say it."""
        if self._timings.is_silent and not self._is_said:
            self._is_said = True
            logger.bind(event="journal_silent").info(
                "The journal of {} does not tell what was read for an answer: how much of the prompts was "
                "cached stays unknown. To let batchd read it: usermod -aG systemd-journal USER, and start "
                "batchd again",
                self._unit,
            )
        return self._timings.evaluated(prefill_s, decode_s)

    async def stop(self) -> None:
        """End journalctl and its reader, for good."""
        self._is_stopped = True
        self._timings.close()
        if self._process is not None:
            self._process.terminate()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, END_S)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread."""
        try:
            process = subprocess.Popen(
                [shutil.which(self._program) or self._program, *_COMMAND, f"--unit={self._unit}"],
                stdin=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError:
            return
        self._process = process
        if self._is_stopped:
            process.terminate()
        assert process.stdout is not None
        with process.stdout, suppress(OSError, RuntimeError):  # RuntimeError: the loop has ended
            while line := process.stdout.readline(PIECE_CHARS_MAX):
                if is_telling(line):
                    loop.call_soon_threadsafe(self._timings.note, line)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
