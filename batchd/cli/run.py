"""`batchd run`: these files, in the foreground, until they are done.

SUMMARY
    The same rooms as the daemon's, around a spool of its own (or a given one). Progress goes to standard
    error: a bar on a terminal, plain lines elsewhere. Standard output has one line for each batch.

DIAGNOSTICS
    Warning: exit 3 when a batch is paused and nobody can be asked.
    Fatal: exit 75 when the spool is held or no model server answers; 130 when interrupted: the same command
    goes on where it stopped.
"""

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from batchd.app import Ended, run_files
from batchd.cli.beside import checked_options
from batchd.cli.engine import EngineOption, GgufOption, check_engine, engine_flags, only_this_file
from batchd.cli.outcome import OUT, closing_words, exit_code, find_earlier, read_result
from batchd.cli.paused import EXIT_PAUSED, as_json_of_paused, go_on
from batchd.cli.progress import progress_display
from batchd.cli.source import Source, refuse_foreign, sources
from batchd.cli.terminal import ConfigOption, JsonOption, put, put_json, say
from batchd.core.strategy import Strategy
from batchd.edges.spool import nearest, why
from batchd.edges.spool.private import opened_own
from batchd.errors import SpoolError, UnavailableError, UsageError
from batchd.settings import Settings, load_settings, surroundings


def run(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Batch files, JSONL; - for standard input.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where results go; else ./batchd-results.")
    ] = None,
    engine: EngineOption = None,
    gguf: GgufOption = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Answer every line with this model.")
    ] = None,
    pilot: Annotated[
        int | None,
        typer.Option(
            "--pilot", metavar="N", min=1, max=1_000, help="Begin with N lines, show them, and ask."
        ),
    ] = None,
    strategy: Annotated[
        Strategy | None,
        typer.Option(
            "--strategy",
            help="prefix: what begins alike together; naive: input order; conversation: turns of chats.",
        ),
    ] = None,
    spool: Annotated[
        Path | None, typer.Option("--spool", metavar="DIR", help="Use this spool and its outbox, not --out.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run batch files now and print where their results are.

    Interrupted, the same command goes on where it stopped; a batch that is finished is only looked up.
    A paused batch is shown with its reason: on a terminal you are asked, elsewhere the exit code is 3.

    \b
    Example:
      batchd run requests.jsonl --model smollm2:135m --pilot 20
      batchd run requests.jsonl --gguf model.gguf --json
      gunzip -c requests.jsonl.gz | batchd run -
    """
    _check_flags(out, engine, gguf, spool)
    outbox = None if spool is not None else (out or OUT).absolute()
    settings = load_settings(
        {
            "spool": spool if outbox is None else outbox / ".spool",
            **engine_flags(engine, gguf),
            "model": model,
        },
        config,
    )
    settings = only_this_file(settings, gguf)
    with sources(files, settings) as found:
        return _run_all(settings, found, outbox, pilot, strategy, as_json)


def _run_all(
    settings: Settings,
    found: Sequence[Source],
    outbox: Path | None,
    pilot: int | None,
    strategy: Strategy | None,
    as_json: bool,
) -> int:
    for source in found:
        refuse_foreign(source, settings)  # as a wrong path: said before a server is waited for
    options = [checked_options(source.given) for source in found]
    files = [source.path for source in found]
    if pilot is not None:
        options = [{**asked, "pilot": pilot, "pilot_confirm": True} for asked in options]
    if strategy is not None:
        options = [{**asked, "strategy": strategy.value} for asked in options]
    if outbox is not None:
        _make(outbox)
    try:
        ended = _run(settings, files, options, outbox)
        while (paused := [batch for batch in ended if batch.path is None]) and go_on(settings.spool, paused):
            ended = _run(settings, files, options, outbox)
    except UnavailableError as error:
        raise _with_earlier(error, settings, outbox or settings.spool / "outbox", files) from error
    return max([_told(batch, settings, as_json) for batch in ended])


def _run(
    settings: Settings, files: Sequence[Path], options: Sequence[dict[str, object]], outbox: Path | None
) -> list[Ended]:
    with progress_display() as show:
        return asyncio.run(run_files(settings, surroundings(), files, options, outbox, show))


def _told(batch: Ended, settings: Settings, is_json: bool) -> int:
    """What became of one file, on standard output; its exit code."""
    if batch.path is None:
        if is_json:
            put_json(as_json_of_paused(batch))
        return EXIT_PAUSED
    if is_json:
        put_json(read_result(Path(batch.path)))
    else:
        put(batch.path)
    for sentence in closing_words(Path(batch.path)):
        say(sentence)
    return exit_code(Path(batch.path), settings.failed_share_max)


def _check_flags(out: Path | None, engine: str | None, gguf: Path | None, spool: Path | None) -> None:
    """What was typed wrongly, whatever the settings are."""
    if out is not None and spool is not None:
        raise UsageError(
            "--out and --spool cannot be given together.", "With --spool, results go to its outbox."
        )
    check_engine(engine, gguf)


def _make(outbox: Path) -> None:
    try:
        os.close(opened_own(outbox, 0o755))
    except OSError as error:
        said = f"{outbox} cannot be made: {why(error, nearest(outbox))}."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpoolError(said, "Make room, or give --out a directory on another disk.") from error
        raise UsageError(said, "Give --out a directory, there or not.") from error


def _with_earlier(
    error: UnavailableError, settings: Settings, outbox: Path, files: Sequence[Path]
) -> UnavailableError:
    """Whether a batch is finished depends on the model, so it is not known; what may be meant is named."""
    answer_settings = settings.answer_settings()
    found = [str(place) for file in files for place in find_earlier(outbox, file, answer_settings)]
    if not found:
        return error
    said = f"Earlier results of the same file with the same settings: {', '.join(found)}"
    return UnavailableError(error.message, f"{error.next_step}\n{said}")
