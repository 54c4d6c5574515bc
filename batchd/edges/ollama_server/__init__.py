"""Our own Ollama: a private `ollama serve` on a port of loopback; and whether to use one at all.

SUMMARY
    own      OwnOllama: starts, restarts with other slots, ends; fits `OwnServer` of the Ollama edge
    child    the process behind it
    mode     `auto` decided once: attach if one answers or will, else own

DIAGNOSTICS
    None: nothing runs on import.
"""

from batchd.edges.ollama_server.mode import choose_mode, find_mode
from batchd.edges.ollama_server.own import OwnOllama

__all__ = ["OwnOllama", "choose_mode", "find_mode"]
