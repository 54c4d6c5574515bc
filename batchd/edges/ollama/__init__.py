"""The edge to Ollama: one model server behind the port `ModelServer`.

SUMMARY
    server     OllamaServer: load, unload, answer, restart
    wire       neutral requests into bodies, bodies into answers; the table of what is translated
    listing    what `/api/ps` says
    faults     every error text of Ollama as a `ModelFault`
    cached     how much of a prompt was not read again, where the server does not say it
    client     HTTP: one exchange, bounded in time and in bytes

    Ollama's own words (`num_ctx`, `keep_alive`, `prompt_eval_count`) do not leave this directory.

DIAGNOSTICS
    None: nothing runs on import.
"""

from batchd.edges.ollama.faults import classify
from batchd.edges.ollama.own import OwnServer
from batchd.edges.ollama.server import OllamaServer
from batchd.edges.ollama.wire import TRANSLATES

__all__ = ["TRANSLATES", "OllamaServer", "OwnServer", "classify"]
