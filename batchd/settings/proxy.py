"""Proxy: what the environment says of proxies, for the servers that settings name.

SUMMARY
    proxy_to    by which proxy a server is to be called; None: directly, as this machine's own always is

    Asked only where a server is about to be called, so that a verb that calls none has nothing to do with it.

DIAGNOSTICS
    Fatal: ConfigError for a proxy that no client can call, with the name of its variable.
"""

import os
from collections.abc import Mapping

from batchd.core.proxy import Proxy, proxy_for
from batchd.errors import ConfigError


def proxy_to(address: str, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Of the variables that every HTTP client reads."""
    try:
        return proxy_for(address, os.environ if environ is None else environ)
    except ValueError as error:
        raise ConfigError(
            str(error), "Mend that variable, or name the host in NO_PROXY if it is called directly."
        ) from error
