"""Our own Ollama: a private `ollama serve` on a port of loopback; and whether to use one at all.

SUMMARY
    own      OwnOllama: starts, restarts with other slots, ends; fits `OwnServer` of the Ollama edge
    child    the process behind it
    mode     `auto` decided once: attach if one answers or will, else own
    journal  the log of Ollama's service, where it is attached to and its journal may be read

DIAGNOSTICS
    None: nothing runs on import.
"""

from batchd.edges.ollama_server.journal import UnitLog
from batchd.edges.ollama_server.mode import UNIT_DIRECTORIES, choose_mode, find_mode, has_unit
from batchd.edges.ollama_server.own import PROMPT_CACHE_MIB, OwnOllama

__all__ = [
    "PROMPT_CACHE_MIB",
    "UNIT_DIRECTORIES",
    "OwnOllama",
    "UnitLog",
    "choose_mode",
    "find_mode",
    "has_unit",
]
