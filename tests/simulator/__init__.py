"""A real HTTP server that speaks Ollama's protocol, with a memory model, slots and the true error texts.

SUMMARY
    Simulator        in this process: `async with Simulator(Settings(...)) as simulator: simulator.address`
    child.ChildSimulator    in a child process: survives the death of the daemon under test, keeps a log
    python -m tests.simulator --port 0 [--log FILE] ...     prints `listening on http://127.0.0.1:PORT`
    machine.Machine  its memory as a pure value, for the tests in virtual time too
    python -m tests.simulator serve     takes OLLAMA_HOST and OLLAMA_NUM_PARALLEL, as `ollama serve` does

    What it answers follows the recorded exchanges of Ollama 0.33.0-rc2 (tests/integration/transcripts).
    A token is four characters. Every answer carries a tag made from the last user text, so that a test can
    tell that answer k belongs to request k. Its numbers are never reported as the product's.

DIAGNOSTICS
    Bug: an exception in a route answers 500 `simulator: ...` and is kept in `Simulator.bugs`.
"""

from tests.simulator.answers import tag_of
from tests.simulator.machine import Machine
from tests.simulator.models import DEFAULT_MODELS, ModelSpec
from tests.simulator.server import Simulator
from tests.simulator.state import Counts, Seen, Settings

__all__ = [
    "DEFAULT_MODELS",
    "Counts",
    "Machine",
    "ModelSpec",
    "Seen",
    "Settings",
    "Simulator",
    "tag_of",
]
