"""Masking: what a server says of a request, without the request's own words.

SUMMARY
    masked    the beginning of a text, fit for a log

    Servers quote: a schema, a prompt that they could not parse, the line that ended a runner. A log is read
    by others than the submitter, so every word of the text that the request has, too, is struck out, but for
    those that errors are made of. What is struck out may be too much, and is never too little: a word that
    hides one of the request's goes, and so does every escape that may hide a letter.

DIAGNOSTICS
    None.
"""

import re
from collections.abc import Iterator

from batchd.core.fault import TOLD_CHARS_MAX
from batchd.core.request import Request

MASK = "***"

#: An escape of JSON, Go or C, or a word.
_PIECE = re.compile(r"\\(?:u[0-9a-fA-F]{0,4}|x[0-9a-fA-F]{0,2}|.)|[^\W_]+", re.DOTALL)

#: Shorter words say nothing of anybody. Of a script without spaces two signs are a word.
_WORD_CHARS_MIN = 3
_SIGNS_MIN = 2

#: Where a longer word has so many letters of the request in a row, it has been glued to something.
_GLUED_CHARS = 6

#: What the errors of servers, gateways and drivers are made of: these betray nothing where a prompt has them.
_COMMON_TEXT = """
abort aborted access after again aborting allocate allocated allocation and answer answered are
argument assert attempt attempted available bad batch been before below body broken buffer busy but
bytes cache call cannot canceled cannot chat check checked client code completion compute connect
connection contain content context could count crash cuda current data decode device does down
element embedding embeddings empty encode end ended engine eof error errors exceed exceeded exceeds
exit expected expects failed failure fatal field file first for format forbidden found from full
gateway generate ggml given gpu grammar greater had has have header health host http increase
initialize input insufficient integer internal into invalid its json killed large layer length less
limit limits llama loaded loading load long longer lost many maximum may memory message messages
minimum missing model more must name network nginx none not null number object odd offset ollama
only option options out output page parameter parse pending physical pipe please position process
processing prompt property queue range read reached reading reason refused rejected repeat request
requests required reset resource resources response rest retry return returned role rule run runner
running sampler sampling schema seed server service should signal size slot slots some start started
state status stop stopped stream string support supported supports system task temporarily tensor
terminated text than that the then there think thinking this timed timeout token tokens tool tools
too try trying type unavailable unauthorized unexpected unexpectedly unknown unmarshal unsupported
upstream usage use valid value version waiting was were what when which while will window with
within without worker write
"""
_COMMON = frozenset(_COMMON_TEXT.split())


def masked(text: str, request: Request) -> str:
    """The first characters of it, with the request's own words struck out."""
    own = _texts(request).casefold()
    return _PIECE.sub(lambda piece: _masked(piece[0], own), text[:TOLD_CHARS_MAX])[:TOLD_CHARS_MAX]


def _texts(request: Request) -> str:
    def all_of() -> Iterator[str]:
        for message in request.messages:
            yield message.text
        yield from request.inputs
        for name, value in request.parameters.items():
            yield f"{name} {value!r}"

    return "\n".join(all_of())


def _masked(piece: str, own: str) -> str:
    if piece.startswith("\\"):
        return MASK if piece[1:2] in ("u", "x") else piece
    word = piece.casefold()
    if word in _COMMON or (word.isascii() and len(word) < _WORD_CHARS_MIN):
        return piece
    signs = _GLUED_CHARS if word.isascii() else _SIGNS_MIN
    if word.isascii() and len(word) == _WORD_CHARS_MIN:  # many a longer word has it, too
        return MASK if re.search(rf"(?<![^\W_]){word}(?![^\W_])", own) else piece
    is_own = word in own or any(word[at : at + signs] in own for at in range(len(word) - signs + 1))
    return MASK if is_own else piece
