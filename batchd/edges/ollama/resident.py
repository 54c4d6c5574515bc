"""Resident: the model of the last load, what every call says of it, and whether an answer is its.

SUMMARY
    Terms        window and shifting: a call that says another thing makes the server load the model again
    terms_for    those of a load; where the model lies there already with a window that is large enough, those
                 under which it lies, since another load would cost all its other users
    Resident     the model, its terms, and the reading of its answers

    Other clients mostly leave `shift` to the server, which is a launch flag of the runner that the API does
    not show: so for a model that somebody else has loaded it is left to the server as well. Where it shifts,
    an answer that went beyond the window has lost the beginning of its prompt, and its counts show that.

DIAGNOSTICS
    None: values only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load
from batchd.core.reply import count_or_none, text_or_empty
from batchd.core.request import Request
from batchd.edges.ollama.wire import FOREVER, Model, full_name, preload_call, read_answer, request_call

#: What Ollama gives a model that nobody set.
KEEP_ALIVE_DEFAULT = "5m"

#: A model that stays for ever is listed as going some 290 years from now.
_NEVER_GOES = "2200"


@dataclass(frozen=True, slots=True)
class Terms:
    """What each call says. `shift` None: nothing. `keep_alive`: what the model gets back at the end."""

    window_tokens: int
    shift: bool | None = False
    keep_alive: int | str = KEEP_ALIVE_DEFAULT

    @property
    def is_found(self) -> bool:
        """Whether somebody else has loaded it."""
        return self.shift is None


@dataclass(slots=True)
class Resident:
    """The model of the last load."""

    name: str
    listed_as: str
    model: Model
    terms: Terms
    is_embedding: bool

    def call(self, request: Request) -> tuple[str, dict[str, object]] | ModelFault:
        """Path and body of this request."""
        return request_call(request, self.name, self.terms.window_tokens, self.model, self.terms.shift)

    def farewell(self) -> tuple[str, dict[str, object]]:
        """Path and body of what gives it back the time that it would stay without us."""
        terms = self.terms
        return preload_call(self.name, terms.window_tokens, self.is_embedding, terms.keep_alive, terms.shift)

    def read(self, request: Request, body: object) -> Answer | ModelFault:
        """The answer in this body. Ollama repeats the name that it was asked for: another one shows that
        something between us has mixed up the answers."""
        named = body.get("model") if isinstance(body, dict) else None
        if isinstance(named, str) and full_name(named) != full_name(self.name):
            text = f"The answer is to another request: it is of the model '{named[:100]}'."
            return ModelFault(Category.SERVER, text, is_temporary=True)
        answer = read_answer(request, body)
        return self._unshifted(answer) if isinstance(answer, Answer) and not self.is_embedding else answer

    def _unshifted(self, answer: Answer) -> Answer | ModelFault:
        usage, window = answer.usage, self.terms.window_tokens
        # The last token needs no cell.
        if self.terms.shift is False or usage.prompt_tokens + usage.completion_tokens <= window + 1:
            return answer
        return ModelFault(
            Category.CONTEXT_LENGTH,
            f"The answer went on beyond the end of the window of {window} tokens.",
            is_temporary=False,
            code="context_length_exceeded",
            prompt_tokens=usage.prompt_tokens,
            window_tokens=window,
        )


def terms_for(
    load: Load, window_tokens_max: int | None, listed: Mapping[str, object] | None, earlier: Resident | None
) -> Terms:
    """`listed`: the model as it lies in the server; `window_tokens_max`: its own maximum.

    One that lies partly beside the card is no help. Whatever is done, it stays afterwards as it would have.
    """
    found = {} if listed is None else listed
    window = count_or_none(found.get("context_length")) or 0
    size, on_card = found.get("size"), found.get("size_vram")
    is_ours = earlier is not None and earlier.name == load.model
    stays = text_or_empty(found.get("expires_at")) >= _NEVER_GOES
    keep_alive = earlier.terms.keep_alive if earlier and is_ours else FOREVER if stays else KEEP_ALIVE_DEFAULT
    is_split = on_card not in (0, size)
    wanted = min(load.window_tokens, window_tokens_max or load.window_tokens)
    if not load.accepts_larger or window < wanted or is_split:
        return Terms(load.window_tokens, keep_alive=keep_alive)
    if earlier is not None and is_ours and earlier.terms.window_tokens == window:
        return earlier.terms
    return Terms(window, None, keep_alive)
