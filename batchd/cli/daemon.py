"""`batchd daemon`: the daemon itself, in the foreground.

SUMMARY
    For systemd (`Type=notify`), or for a terminal. Ends by SIGTERM or SIGINT after a drain.

DIAGNOSTICS
    Fatal: exit 78 for a wrong setting, 75 when another holds the spool, 1 when disk or journal fail.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from batchd.app import serve
from batchd.settings import load_settings, surroundings


def daemon(
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A TOML file.")] = None,
    spool: Annotated[Path | None, typer.Option("--spool", metavar="DIR", help="The spool directory.")] = None,
) -> None:
    """Watch the spool, run what arrives, publish the results. Stops by Ctrl-C or SIGTERM.

    Example: batchd daemon --spool /var/spool/batchd
    """
    asyncio.run(serve(load_settings({"spool": spool}, config), surroundings()))
