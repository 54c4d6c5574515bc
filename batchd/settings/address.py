"""Addresses of model servers: what may be written, and what is called.

SUMMARY
    server_url   for Ollama: `host`, `host:port` or a URL, as Ollama reads OLLAMA_HOST
    http_url     for llama-server: a whole URL

    The end of an address that names an API and not a server (`/v1`, `/api`) is left out. An address that no
    client can call is refused here, where its name and origin are known, and not when the first request goes
    out.

DIAGNOSTICS
    None of its own: ValueError with a phrase, which pydantic hands on.
"""

import re
from ipaddress import ip_address

from batchd.core.text import printable

#: A name as the resolver takes it: labels of at most 63 characters.
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)

#: What looks like an IPv4 address is taken for one.
_LIKE_IPV4 = re.compile(r"[0-9.]+", re.ASCII)

#: `[::1]:80`.
_BRACKETED = re.compile(r"\[(?P<host>[^]]*)\](:(?P<port>.*))?")

#: Of the path below which a server answers.
_PATH = re.compile(r"[!-~]{0,1000}", re.ASCII)

#: What clients of other APIs want at the end of an address, and people copy: it is left out, because whatever
#: is called stands below these already.
_OPENAI_API = re.compile(r"/v1(/(chat(/completions)?|completions|embeddings|models))?$")
_OLLAMA_API = re.compile(
    rf"/api(/(chat|generate|embed|embeddings|tags|ps|show|version))?$|{_OPENAI_API.pattern}"
)

_PORT_MAX = 65_535


def server_url(text: str) -> str:
    """The address to call, not to listen on."""
    has_scheme = "://" in text
    scheme, _, rest = text.partition("://") if has_scheme else ("http", "", text)
    if scheme not in ("http", "https"):
        raise ValueError(
            f"'{printable(text)}' is not an address: it must be host, host:port, or an http(s) URL"
        )
    host, port, path = _parts(text, rest.strip())
    port = port or {False: "11434", True: "443" if scheme == "https" else "80"}[has_scheme]
    if host in ("", "0.0.0.0", "::"):
        host = "127.0.0.1"  # a server listens on every address; a caller needs one
    return f"{scheme}://{_bracketed(host)}:{port}{_OLLAMA_API.sub('', path.rstrip('/'))}".rstrip("/")


def http_url(text: str) -> str:
    """As it was written, if it can be called."""
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or "://" not in text:
        raise ValueError(f"'{printable(text)}' must begin with http:// or https://")
    host, port, path = _parts(text, rest)
    if not host:
        raise ValueError(f"'{printable(text)}' names no host")
    path = _OPENAI_API.sub("", path.rstrip("/"))
    return f"{scheme}://{_bracketed(host)}{':' if port else ''}{port}{path}".rstrip("/")


def _parts(text: str, rest: str) -> tuple[str, str, str]:
    """Host, port and path of what follows the scheme; host and port may be empty."""
    place, slash, path = rest.partition("/")
    if "@" in place:
        # It would be shown wherever the address is: in the status, the log and the results.
        raise ValueError("the address holds a name or a password; give a key with llamacpp.api_key instead")
    if set("?#") & set(rest) or not _PATH.fullmatch(path):
        raise ValueError(
            f"'{printable(text)}' is not an address: after the host, only a path of plain ASCII may come"
        )
    host, port = _host_and_port(place)
    if port and not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _PORT_MAX):
        raise ValueError(
            f"'{printable(text)}' is not an address: the port must be a number from 1 to {_PORT_MAX}"
        )
    if host and not _is_host(host):
        raise ValueError(
            f"'{printable(text)}' is not an address: '{printable(host)}' is no host name and no IP address"
        )
    return host, port, slash + path


def _host_and_port(place: str) -> tuple[str, str]:
    bracketed = _BRACKETED.fullmatch(place)
    if bracketed is not None and _is_ip(bracketed["host"]):
        return bracketed["host"], bracketed["port"] or ""
    if _is_ip(place):
        return place, ""
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
    return host, port


def _is_host(host: str) -> bool:
    if _is_ip(host):
        return True
    # A client translates names of other scripts back and forth, and not every form survives.
    is_foreign = any(label.lower().startswith("xn--") for label in host.split("."))
    return _NAME.fullmatch(host) is not None and not _LIKE_IPV4.fullmatch(host) and not is_foreign


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
