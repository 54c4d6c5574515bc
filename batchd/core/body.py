"""Body: the bytes of a reply as they come, up to what was asked for, and the head before them.

SUMMARY
    HEADERS              what every call says: plain JSON, in no encoding
    answer_bytes_max     how long the answer to a request may be
    told_bytes_max       how long what is said of a text may be: its tokens, or itself in a template
    refused_head         why a reply is not read at all: a redirect, an encoding
    with_wait            a fault with the time for which its server asked to be left alone
    received             the body behind a head, read up to its bound
    Body                 collects it

    A body is read while it comes, and no longer than its bound; whatever it then is, it was small.

DIAGNOSTICS
    None raised: a reply that is refused is a ModelFault.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from email.utils import parsedate_to_datetime

from batchd.core.fault import Category, ModelFault
from batchd.core.reply import unreadable
from batchd.core.request import Endpoint, Request
from batchd.core.text import printable

HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # a few bytes that unpack to gigabytes are not to be had
    "Content-Type": "application/json",
    "User-Agent": "batchd",
}

#: No reply is longer, whatever was asked: 2,048 vectors of 1,024 numbers fit.
BODY_BYTES_MAX = 64 * 2**20

#: Values in one reply, by the marks before them. What is read of a text of nothing but empty arrays takes
#: up to thirty-six times its bytes: of 64 MiB more than a service may have, of so many values some hundred
#: MB. Vectors have ten bytes for a number, and nobody's answer has so many brackets.
VALUES_MAX = 8 * 2**20

#: What a server says of itself or of a model: a license and a template are the most of it.
CONTROL_BYTES_MAX = 4 * 2**20

#: An error is a sentence, or a page of a gateway; what is behind that is not read.
ERROR_BYTES_MAX = 64 * 2**10

#: Counts, names, durations, and the page that a proxy may put around them.
_FRAME_BYTES = 64 * 2**10

#: The longest tokens are runs of some hundred spaces, and JSON may take six bytes for one character.
_TOKEN_BYTES = 1_024

#: Sixteen thousand numbers, more than any model's, of 32 characters each.
_VECTOR_BYTES = 512 * 2**10

#: A token of one byte, as its number with a comma, or a character as JSON's escape.
_TOLD_BYTES = 16

_OK = 200

#: In texts they stand as well, which are then counted too: so many there are no answer either.
_BEFORE_VALUES = (b"[", b"{", b",")

#: Digits of a number of seconds: some 30,000 years.
_DIGITS_MAX = 12

#: Characters of an address in a message.
_ADDRESS_CHARS = 200


def answer_bytes_max(request: Request) -> int:
    """Of the answer to it, with its thoughts."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return _bounded(len(request.inputs) * _VECTOR_BYTES)
    return _bounded(request.completion_tokens_max * _TOKEN_BYTES)


def told_bytes_max(text_bytes: int) -> int:
    """Of what a server makes of a text of so many bytes."""
    return _bounded(text_bytes * _TOLD_BYTES)


def _bounded(payload_bytes: int) -> int:
    return min(BODY_BYTES_MAX, _FRAME_BYTES + payload_bytes)


def refused_head(status: int, headers: Mapping[str, str]) -> ModelFault | None:
    """Why what follows this head is not read; None: it is. A person must mend what redirects."""
    if 300 <= status < 400:
        where = printable(headers.get("location", "")[:_ADDRESS_CHARS]) or "nowhere"
        said = (
            f"It answered {status} and sends on to {where}. Redirects are not followed: give the address at "
            "which the model server itself answers."
        )
        return ModelFault(Category.MODEL, said, is_temporary=True, is_server_lost=True, needs_operator=True)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        return unreadable(f"it came in the encoding '{encoding[:_ADDRESS_CHARS]}', and none was asked for")
    return None


def with_wait(fault: ModelFault, headers: Mapping[str, str]) -> ModelFault:
    """`Retry-After` counts where a server that is there refuses for now."""
    if fault.category is not Category.NETWORK or fault.is_server_lost:
        return fault
    return replace(fault, retry_after_s=_retry_after_s(headers))


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds, or a moment by the server's own clock; None: not said, or nothing that can be."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdecimal():
        return float(said[:_DIGITS_MAX])
    try:
        until, now = parsedate_to_datetime(said), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


class Body:
    """What came of it so far."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._content = bytearray()

    def __repr__(self) -> str:
        return f"Body({len(self._content)} of {self._bytes_max} bytes)"

    def add(self, piece: bytes) -> bool:
        """Keep this; False when there is more than may be, so that nothing more is to be read."""
        self._content += piece[: self._bytes_max + 1 - len(self._content)]
        return not self.is_too_long

    @property
    def is_too_long(self) -> bool:
        return len(self._content) > self._bytes_max

    def refused(self) -> ModelFault | None:
        """Why it is not to be read. An answer of which something is missing is none."""
        if self.is_too_long:
            return unreadable(f"it is longer than the {self._bytes_max} bytes that were asked for at most")
        if len(self._content) > VALUES_MAX and sum(map(self._content.count, _BEFORE_VALUES)) > VALUES_MAX:
            return unreadable(f"it has more than {VALUES_MAX} values")
        return None

    @property
    def content(self) -> bytes:
        """Up to the bound."""
        return bytes(self._content[: self._bytes_max])


async def received(
    status: int, headers: Mapping[str, str], pieces: AsyncGenerator[bytes, None], bytes_max: int
) -> Body | ModelFault:
    """The body of a 200 up to `bytes_max`, of anything else an error's first; or why it is not read."""
    if (refused := refused_head(status, headers)) is not None:
        return refused
    body = Body(bytes_max if status == _OK else ERROR_BYTES_MAX)
    async with aclosing(pieces) as coming:
        async for piece in coming:
            if not body.add(piece):
                break
    return body
