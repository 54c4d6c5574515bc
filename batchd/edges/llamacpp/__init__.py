"""llama.cpp's server over HTTP: the embedded one, in a child of ours, or one that the user runs.

SUMMARY
    server   `LlamaServer`, which fits the port ModelServer
    http     one exchange with it
    wire     pure: requests into its words, answers into ours
    faults   pure: what came instead of an answer
    props    pure: what it says of itself

DIAGNOSTICS
    Those of `server`.
"""

from batchd.edges.llamacpp.http import Child
from batchd.edges.llamacpp.server import LlamaServer, StartChild
from batchd.edges.llamacpp.wire import TRANSLATES

__all__ = ["TRANSLATES", "Child", "LlamaServer", "StartChild"]
