"""`batchd run`: these files, in the foreground, until they are done.

SUMMARY
    The same rooms as the daemon's, around a spool of its own (or a given one). Progress goes to standard
    error: a bar on a terminal, plain lines elsewhere. Standard output has one line for each batch.

DIAGNOSTICS
    Fatal: exit 75 when the spool is held or no model server answers; 130 when interrupted: the same command
    goes on where it stopped.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from batchd.app import run_files
from batchd.cli.progress import progress_display
from batchd.errors import UsageError
from batchd.settings import Settings, load_settings, surroundings

_OUT = Path("batchd-results")


def run(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Batch files.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where results go. [./batchd-results]")
    ] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="ollama or llamacpp.")] = None,
    gguf: Annotated[
        Path | None, typer.Option("--gguf", metavar="FILE", help="Answer from this file, by llamacpp.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Answer every line with this model.")
    ] = None,
    spool: Annotated[
        Path | None, typer.Option("--spool", metavar="DIR", help="Use this spool and its outbox.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A TOML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per batch.")] = False,
) -> None:
    """Run batch files now and wait for them. Interrupted, the same command goes on where it stopped.

    Example: batchd run packages.jsonl --model smollm2:135m
    """
    if out is not None and spool is not None:
        raise UsageError(
            "--out and --spool cannot be given together.", "With --spool, results go to its outbox."
        )
    outbox = None if spool is not None else (out or _OUT).absolute()
    flags: dict[str, object] = {
        "spool": spool if outbox is None else outbox / ".spool",
        "engine": "llamacpp" if gguf is not None and engine is None else engine,
        "llamacpp.gguf": gguf,
        "model": model,
    }
    settings = load_settings(flags, config)
    _check_files(files)
    with progress_display() as show:
        paths = asyncio.run(run_files(settings, surroundings(), files, outbox, show))
    results = [_result(Path(path)) for path in paths]
    for result in results:
        line = json.dumps(result) if as_json else str(result["path"])
        typer.echo(line)
    if any(is_failed(result, settings) for result in results):
        raise typer.Exit(1)


def is_failed(result: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a batch ended in a way that a script should notice."""
    counts = result["request_counts"]
    too_many = counts["failed"] > settings.failed_share_max * counts["total"]
    return result["status"] != "completed" or too_many


def _check_files(files: list[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise UsageError(f"There is no file {file}.", "Name a JSONL file in OpenAI's Batch format.")


def _result(path: Path) -> dict[str, Any]:
    batch = json.loads((path / "batch.json").read_bytes())
    metrics = json.loads((path / "metrics.json").read_bytes())
    return {
        "batch_id": batch["id"],
        "path": str(path),
        "status": batch["status"],
        "request_counts": batch["request_counts"],
        "tokens": metrics["tokens"],
    }
