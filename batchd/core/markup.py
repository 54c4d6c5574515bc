"""Markup: chat markup that stands in the text of a message, and what is said of it.

SUMMARY
    A chat template writes marks such as `<|im_end|>` between the messages. Engines read the finished prompt,
    so a mark that stands in somebody's text is a mark too: it may end the message, and what follows speaks as
    another role. No engine here can be asked to keep it as text, and text is never changed here; so such
    requests are counted and told.

DIAGNOSTICS
    None.
"""

from batchd.core.request import Request

#: Parts of the marks of the common templates (ChatML, Llama, Phi, DeepSeek, Gemma, Mistral). Which of them a
#: model knows is its own affair, so this is a suspicion.
_MARKS = ("<|", "<｜", "_of_turn>", "INST]", "</s>", "<s>")

#: One of these characters is in each of them; nearly no text has the second.
_SIGNS = ("<", "]")


def has_markup(text: str) -> bool:
    """Whether something in this text may be read as the end of it."""
    return any(sign in text for sign in _SIGNS) and any(mark in text for mark in _MARKS)


class Markup:
    """Counts the chat requests with such a text. The prompt of a completion is written as it is meant."""

    def __init__(self) -> None:
        self.requests = 0

    def __repr__(self) -> str:
        return f"Markup({self.requests} requests)"

    def note(self, request: Request) -> None:
        """One more request."""
        self.requests += any(has_markup(message.text) for message in request.messages)

    def notes(self) -> tuple[str, ...]:
        """What is to be said; nothing where there was none."""
        if not self.requests:
            return ()
        said = "requests have text that looks like chat markup, such as <|im_end|>: model servers read it as"
        return (f"{self.requests} {said} markup, so it may end its message there.",)
