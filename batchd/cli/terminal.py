"""The terminal: results to standard output, everything said to a person to standard error.

SUMMARY
    Colours and bars only where a person looks: on a terminal, and never with NO_COLOR. Every text is made
    printable first, because names and messages in it come from strangers; and it is never read as markup.

    Options that several verbs share are written once, here.

DIAGNOSTICS
    None: writing to a closed pipe ends the command, quietly.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from batchd.core.json import dumps
from batchd.core.text import escaped_json, printable
from batchd.errors import BatchdError

SpoolOption = Annotated[
    Path | None, typer.Option("--spool", metavar="DIR", help="The spool; else the one that is configured.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A TOML file, in place of /etc/batchd/batchd.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]

#: Columns where there is no terminal: nothing is folded that a program will read.
_PIPE_COLUMNS = 10_000


def console(is_error: bool = False) -> Console:
    """Standard output, or standard error, as it is now."""
    file = sys.stderr if is_error else sys.stdout
    return Console(
        file=file, markup=False, highlight=False, emoji=False, width=None if file.isatty() else _PIPE_COLUMNS
    )


def put(text: str, style: str | None = None) -> None:
    """One line of the result."""
    console().print(printable(text), style=style, soft_wrap=True)


def put_json(value: object) -> None:
    """One line of JSON, in UTF-8 whatever the terminal is set to, because programs read it.

    What would drive a terminal is escaped wherever it goes: a pipe may end in one.
    """
    sys.stdout.flush()
    sys.stdout.buffer.write(escaped_json(dumps(value).decode()).encode() + b"\n")
    sys.stdout.buffer.flush()


def put_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns; on a terminal the long ones are folded."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    console().print(table)


def say(text: str, style: str | None = None) -> None:
    """One line to the person at the keyboard."""
    console(is_error=True).print(printable(text), style=style, soft_wrap=True)


def say_error(error: BatchdError) -> None:
    """What went wrong in one sentence, and the next step."""
    say(f"batchd: {error.message}", style="red")
    if error.next_step:
        say(error.next_step)
