"""`batchd demo`: the main job on this machine, with a real model and nothing else installed.

SUMMARY
    Gets a small model once, starts a real daemon on a spool of its own, hands the example batch in, waits,
    stops the daemon, and shows three answers, what the shared prefix saved, and where everything lies.

DIAGNOSTICS
    Fatal: exit 75 when the model cannot be fetched; 1 when the daemon ended by itself, with its last lines.
"""

import itertools
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from batchd.cli.outcome import exit_code, find_result
from batchd.cli.progress import fetch_display, progress_display
from batchd.cli.status import read_report
from batchd.cli.terminal import put, say
from batchd.core.bars import NOT_TOLD
from batchd.core.json import dumps, loads
from batchd.core.status import StatusReport
from batchd.edges.model_store import SMALL_MODEL, ensure_small_model
from batchd.edges.spool import submit_file
from batchd.errors import BatchdError, ConfigError, SpoolError, UsageError
from batchd.settings import surroundings, without_settings

OUT = Path("batchd-demo")

#: The example takes half a minute on two cores; a machine that needs more than this is stuck.
DEADLINE_S = 900.0
LOOK_INTERVAL_S = 0.5

#: The daemon drains for half a minute at most.
STOP_TIMEOUT_S = 60.0

#: Two slots show the lanes, and cost one cold reading of the rubric more than one.
SLOTS = 2

ANSWERS_SHOWN = 3

#: One line of a terminal for each answer.
ANSWER_CHARS_MAX = 100
LOG_LINES_SHOWN = 8


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to work; else ./batchd-demo.")
    ] = None,
    lines: Annotated[
        int | None, typer.Option("--lines", metavar="N", min=1, help="Only the first N lines of the example.")
    ] = None,
) -> int:
    """Run the example batch on a small real model.

    It goes through a real daemon and spool; then the answers are shown, and what was saved.

    \b
    Example:
      batchd demo
      batchd demo --out /tmp/demo --lines 6
    """
    place = (out or OUT).absolute()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{place} cannot be made: {error.strerror}.", "Name another directory with --out."
        ) from error
    say(f"1. The model: {SMALL_MODEL.name}, {SMALL_MODEL.gguf_bytes / 1e6:.0f} MB, fetched once.")
    with fetch_display() as show_bytes:
        gguf = ensure_small_model(surroundings().xdg_cache_home / "batchd", show_bytes)
    say("2. The batch: Debian package records, each with the same long rubric.")
    batch = _example(place, lines)
    say("3. The daemon: it claims the file from the inbox, and publishes to the outbox.")
    with _daemon(place, gguf) as process:
        batch_id = f"batch_{os.urandom(16).hex()}"
        submit_file(place / "spool", batch, batch.name, {"batch_id": batch_id})
        result = _wait(place, process, batch_id)
    _show(place, result)
    return exit_code(result, 0.0)


def example_file() -> Path:
    """The example batch: beside the package in a clone, under share/ where it was installed."""
    name = Path("spool.example/inbox/packages.jsonl")
    for root in (Path(__file__).parents[2], Path(sysconfig.get_path("data")) / "share" / "batchd"):
        if (root / name).is_file():
            return root / name
    raise UsageError("The example batch is not installed.", "Install batchd again, or run it in a clone.")


def _example(place: Path, lines: int | None) -> Path:
    path = place / "packages.jsonl"
    with example_file().open("rb") as source:
        path.write_bytes(b"".join(itertools.islice(source, lines)))
    return path


@contextmanager
def _daemon(place: Path, gguf: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of its own, stopped at the end as systemd would."""
    config = place / "batchd.toml"
    config.write_text(
        "# The settings of this demonstration; see `batchd config --config` with this file.\n"
        f"spool = {dumps(str(place / 'spool')).decode()}\n"
        f'engine = "llamacpp"\nslots = {SLOTS}\nsettle_s = 0\n'
        "share_card = true  # the model is small, and a batchd of yours may be at work\n\n"
        f'[llamacpp.models]\n"{SMALL_MODEL.name}" = {dumps(str(gguf)).decode()}\n'
    )
    command = [sys.executable, "-m", "batchd", "daemon", "--config", str(config)]
    with (place / "daemon.log").open("wb") as log:
        # The user's own settings would win over the file's.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=without_settings()
        )
        try:
            _await_spool(place, process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_spool(place: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.perf_counter() + STOP_TIMEOUT_S
    while not (place / "spool" / "inbox").is_dir():
        _check(place, process, until)


def _wait(place: Path, process: subprocess.Popen[bytes], batch_id: str) -> Path:
    until = time.perf_counter() + DEADLINE_S
    report: StatusReport | None = None
    with progress_display() as show:
        while (result := find_result(place / "spool" / "outbox", batch_id)) is None:
            _check(place, process, until)
            with suppress(ConfigError, SpoolError):  # not written yet
                report = read_report(place / "spool")
                show(report)
        if report is not None:
            show(replace(report, batches=()))  # it has left the house
    return result


def _check(place: Path, process: subprocess.Popen[bytes], until: float) -> None:
    """One step of a wait. Raises when the daemon has ended, or the time is over."""
    if process.poll() is not None or time.perf_counter() > until:
        tail = (place / "daemon.log").read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        what = "ended by itself" if process.poll() is not None else "is stuck"
        raise BatchdError(f"The daemon {what}. Its last lines:", "\n".join(tail))
    time.sleep(LOOK_INTERVAL_S)


def _show(place: Path, result: Path) -> None:
    metrics: Mapping[str, Any] = loads((result / "metrics.json").read_bytes())  # type: ignore[assignment]  # ours
    sent, evaluated = (metrics["tokens"][name]["value"] for name in ("naive", "evaluated"))
    put("")
    put(f"{ANSWERS_SHOWN} of {metrics['answers']['completed']} answers:", style="bold")
    output = result / "output.jsonl"
    lines = output.read_bytes().splitlines()[:ANSWERS_SHOWN] if output.is_file() else []
    for line in lines:
        answer: Mapping[str, Any] = loads(line)  # type: ignore[assignment]  # ours
        text = answer["response"]["body"]["choices"][0]["message"]["content"]
        said = textwrap.shorten(f"{answer['custom_id']}: {text}", ANSWER_CHARS_MAX, placeholder=" …")
        put(f"  {said}")
    read = NOT_TOLD
    if evaluated is not None:
        read = f"{evaluated:>9,}   ({1 - evaluated / max(sent, 1):.1%} were not read again)"
    put("")
    put("What the shared rubric saved:", style="bold")
    put(f"  prompt tokens sent:  {sent:>9,}")
    put(f"  tokens evaluated:    {read}")
    put(f"  time:                {metrics['time']['wall_s']:>9,.1f} s on this machine")
    put("")
    put("Where everything lies:", style="bold")
    put(f"  results   {_near(result)}")
    put(f"  log       {_near(place / 'daemon.log')}")
    put(f"  settings  {_near(place / 'batchd.toml')}")
    again = f"batchd daemon --config {quote(str(_near(place / 'batchd.toml')))}"
    put(f"  spool     {_near(place / 'spool')}   (`{again}` watches its inbox)")


def _near(path: Path) -> Path:
    """As a person here would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
