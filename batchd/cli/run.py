"""`batchd run`: these files, in the foreground, until they are done.

SUMMARY
    The same rooms as the daemon's, around a spool of its own (or a given one). Progress goes to standard
    error: a bar on a terminal, plain lines elsewhere. Standard output has one line for each batch.

DIAGNOSTICS
    Fatal: exit 75 when the spool is held or no model server answers; 130 when interrupted: the same command
    goes on where it stopped.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from batchd.app import run_files
from batchd.cli.beside import checked_options, opened
from batchd.cli.outcome import exit_code, read_result
from batchd.cli.progress import progress_display
from batchd.cli.terminal import ConfigOption, JsonOption, put, put_json
from batchd.errors import UsageError
from batchd.settings import load_settings, surroundings

OUT = Path("batchd-results")


def run(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Batch files, JSONL.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where results go; else ./batchd-results.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="NAME", help="ollama or llamacpp.")
    ] = None,
    gguf: Annotated[
        Path | None, typer.Option("--gguf", metavar="FILE", help="Answer from this model file, by llamacpp.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Answer every line with this model.")
    ] = None,
    spool: Annotated[
        Path | None, typer.Option("--spool", metavar="DIR", help="Use this spool and its outbox, not --out.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run batch files now, wait for them, and print where their results are.

    Interrupted, the same command goes on where it stopped; a batch that is finished is only looked up.

    \b
    Example:
      batchd run requests.jsonl --model smollm2:135m
      batchd run requests.jsonl --gguf model.gguf --json
    """
    if out is not None and spool is not None:
        raise UsageError(
            "--out and --spool cannot be given together.", "With --spool, results go to its outbox."
        )
    if engine not in (None, "ollama", "llamacpp"):
        raise UsageError(f"There is no engine '{engine}'.", "Give --engine ollama or --engine llamacpp.")
    outbox = None if spool is not None else (out or OUT).absolute()
    settings = load_settings(
        {
            "spool": spool if outbox is None else outbox / ".spool",
            "engine": "llamacpp" if gguf is not None and engine is None else engine,
            "llamacpp.gguf": gguf,
            "model": model,
        },
        config,
    )
    if gguf is not None:
        if engine == "ollama":
            raise UsageError("--gguf is a file for llamacpp, not for ollama.", "Leave one of the two out.")
        # The flag wins over every model and server that the configuration names.
        only_this = settings.llamacpp.model_copy(update={"models": {}, "url": None})
        settings = settings.model_copy(update={"llamacpp": only_this})
    for file in files:
        opened(file).close()  # a wrong path is said before a server is waited for
    options = [checked_options(file) for file in files]
    with progress_display() as show:
        results = asyncio.run(run_files(settings, surroundings(), files, options, outbox, show))
    for result in results:
        if as_json:
            put_json(read_result(Path(result)))
        else:
            put(result)
    return max(exit_code(Path(result), settings.failed_share_max) for result in results)
