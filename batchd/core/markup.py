"""Markup: chat markup that stands in the text of a message, and what is said of it.

SUMMARY
    A chat template writes marks such as `<|im_end|>` between the messages. Engines read the finished prompt,
    so a mark that stands in somebody's text is a mark too: it may end the message, and what follows speaks as
    another role. No engine here can be asked to keep it as text, and text is never changed here; so such
    requests are counted and told.

DIAGNOSTICS
    None.
"""

import re

from batchd.core.request import Request

#: Parts of the marks of common templates (ChatML, Llama, Phi, DeepSeek, Gemma), each with a character that
#: it has and most texts have not: to look for one character costs nearly nothing, and every text passes by
#: here. Which marks a model knows is its own affair, so this is a suspicion.
_MARKS = (("|", "<|"), ("｜", "<｜"), ("_", "_of_turn>"))

#: The ends of a text in Llama 2 and Mistral, and of an instruction there.
_ENDS = re.compile("</?s>")
_INSTRUCTION = "INST]"


def has_markup(text: str) -> bool:
    """Whether something in this text may be read as the end of it."""
    if "]" in text and _INSTRUCTION in text:
        return True
    if "<" not in text:
        return False
    return any(sign in text and mark in text for sign, mark in _MARKS) or _ENDS.search(text) is not None


class Markup:
    """Counts the chat requests with such a text. The prompt of a completion is written as it is meant."""

    def __init__(self) -> None:
        self.requests = 0

    def __repr__(self) -> str:
        return f"Markup({self.requests} requests)"

    def note(self, request: Request) -> None:
        """One more request."""
        for message in request.messages:
            if has_markup(message.text):
                self.requests += 1
                return

    def notes(self) -> tuple[str, ...]:
        """What is to be said; nothing where there was none."""
        if not self.requests:
            return ()
        said = "requests have text that looks like chat markup, such as <|im_end|>: model servers read it as"
        return (f"{self.requests} {said} markup, so it may end its message there.",)
