"""`batchd daemon`: the daemon itself, in the foreground.

SUMMARY
    For systemd (`Type=notify`), or for a terminal. Ends by SIGTERM or SIGINT after a drain; SIGHUP makes it
    read its settings again.

DIAGNOSTICS
    Fatal: exit 78 for a wrong setting, 75 when another holds the spool, 1 when disk or journal fail.
"""

import asyncio

from batchd.app import serve
from batchd.cli.terminal import ConfigOption, SpoolOption
from batchd.settings import load_settings, surroundings


def daemon(config: ConfigOption = None, spool: SpoolOption = None) -> int:
    """Watch the spool, run what arrives, publish the results. Stops by Ctrl-C or SIGTERM.

    \b
    Example:
      batchd daemon --spool /var/spool/batchd
    """
    asyncio.run(serve(lambda: load_settings({"spool": spool}, config), surroundings()))
    return 0
