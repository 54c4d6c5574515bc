"""Text from outside, made fit for one line of a log, a terminal or a status.

SUMMARY
    File names, model texts and error messages come from anybody. A newline in them forges a log entry, an
    escape sequence drives a terminal, a bidirectional mark turns a name around, a lone surrogate breaks every
    UTF-8 stream. `printable` replaces each of them by its escape, so that the text says what it holds;
    `escaped_json` does it in JSON, which has escapes of its own for control characters below 0x20.

DIAGNOSTICS
    None: every text has an answer.
"""

import re

#: C0, DEL and C1 controls; line and paragraph separators; bidirectional marks, embeddings and isolates; the
#: byte order mark; surrogates (an undecodable byte of a file name is one).
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

#: The same without what stands between the values of a JSON text: a newline at its end, or in between.
_UNFIT_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def printable(text: str) -> str:
    """One line that any UTF-8 stream takes and no terminal obeys."""
    return _UNFIT.sub(_escape, text)


def escaped_json(text: str) -> str:
    """JSON whose strings hold nothing that a terminal obeys; the value stays the same."""
    return _UNFIT_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
