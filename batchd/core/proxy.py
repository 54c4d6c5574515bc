"""Proxy: by which proxy of the environment a server is called, if by any.

SUMMARY
    proxy_for      the proxy to a URL, and the variable that names it
    is_loopback    whether an address is this machine's own, which is never called by a proxy

    `http_proxy`, `https_proxy` and `all_proxy` are read, in small letters before capitals, and `no_proxy`:
    names (with all below them), addresses, networks such as `10.0.0.0/8`, brackets, ports, and `*`.

DIAGNOSTICS
    None raised but ValueError with a sentence, by `proxy_for`, for a proxy that nobody can call. What is odd
    in NO_PROXY excepts nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from batchd.core.text import printable

#: Those that the HTTP client can speak.
SCHEMES = ("http", "https", "socks5", "socks5h")

#: Characters of a variable that a message shows.
_SHOWN_CHARS = 100

_SEPARATORS = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the variable that names it. Its address may hold a password."""

    url: str
    variable: str

    def __repr__(self) -> str:
        return f"the proxy {urlsplit(self.url).hostname} ({self.variable})"


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """How to call this URL; None: directly."""
    called = urlsplit(url if "://" in url else f"http://{url}")
    if is_loopback(url) or _is_excepted(called, _value("no_proxy", environ)[1]):
        return None
    for name in (f"{called.scheme}_proxy", "all_proxy"):
        variable, value = _value(name, environ)
        if value:
            return Proxy(_checked(value, variable, called), variable)
    return None


def is_loopback(address: str) -> bool:
    """Whether a URL, `host:port` or host is this machine's own. An address to listen on counts as well."""
    try:
        name = urlsplit(address if "://" in address else f"//{address}").hostname or "localhost"
    except ValueError:  # brackets around what is no address
        return False
    try:
        found = ip_address(name)
    except ValueError:
        return name.rstrip(".") == "localhost" or name.rstrip(".").endswith(".localhost")
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _value(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable and what it says; an empty one counts as not set, as everywhere."""
    for variable in (name, name.upper()):
        if value := environ.get(variable, "").strip():
            return variable, value
    return name, ""


def _checked(value: str, variable: str, called: SplitResult) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:  # a port that is no number, brackets around what is no address
        is_good = False
    if is_good and url.isascii() and not re.search(r"\s", url):
        return url
    shown = printable(value.rpartition("@")[2][:_SHOWN_CHARS])  # without a name and a password
    raise ValueError(
        f"{variable} is '{shown}', which is no proxy that can be called ({', '.join(SCHEMES)}), and "
        f"{called.hostname} is to be called by it."
    )


def _is_excepted(called: SplitResult, exceptions: str) -> bool:
    host = (called.hostname or "").rstrip(".")
    port = called.port or {"https": 443}.get(called.scheme, 80)
    return any(_excepts(entry.lower(), host, port) for entry in _SEPARATORS.split(exceptions) if entry)


def _excepts(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    entry = entry.rpartition("://")[2]
    if "/" in entry or entry.count(":") > 1:  # a network, or an address of IPv6: in brackets, or without
        entry, _, given = entry.partition("]:") if entry.startswith("[") else (entry, "", "")
        entry = entry.replace("[", "").replace("]", "")
    else:
        entry, _, given = entry.partition(":")
    if given and given != str(port):
        return False
    try:
        address = ip_address(host)
    except ValueError:
        name = entry.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False
