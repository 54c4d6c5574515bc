"""Resident: the model of the last load, what the server said of it, and whether an answer is its.

DIAGNOSTICS
    None: values only.
"""

from dataclasses import dataclass

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer
from batchd.core.request import Request
from batchd.edges.ollama.cached import ColdRate
from batchd.edges.ollama.wire import Model, full_name, read_answer


@dataclass(slots=True)
class Resident:
    """The model of the last load."""

    name: str
    listed_as: str
    model: Model
    window: int
    is_embedding: bool
    rate: ColdRate

    def read(self, request: Request, body: object) -> Answer | ModelFault:
        """The answer in this body. Ollama repeats the name that it was asked for: another one shows that
        something between us has mixed up the answers."""
        named = body.get("model") if isinstance(body, dict) else None
        if isinstance(named, str) and full_name(named) != full_name(self.name):
            text = f"The answer is to another request: it is of the model '{named[:100]}'."
            return ModelFault(Category.SERVER, text, is_temporary=True)
        return read_answer(request, body)
