"""The gate: at each new connection, before anything is sent, whether who listens is to be believed.

SUMMARY
    A port of this machine is whoever's comes first, and after a death anybody's. `asking` looks before
    and after a connection is made: a socket that took connections at both moments is the one that took ours.
    Of an answer over a connection that was made earlier nothing is in doubt.

DIAGNOSTICS
    StrangerError travels through the HTTP client, and carries the fault that the exchange then is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from batchd.core.fault import Category, ModelFault

_SWAPPED = ModelFault(
    Category.NETWORK,
    "Another process took the port of the model server while we connected.",
    is_temporary=True,
    is_server_lost=True,
)

_UNSEEN = ModelFault(
    Category.NETWORK,
    "Who listens at the address of the model server cannot be seen from here, and ollama.user asks for it.",
    is_temporary=True,
    is_server_lost=True,
    needs_operator=True,
)


class Gate(Protocol):
    """Who listens at the server's address."""

    async def look(self) -> frozenset[int] | ModelFault:
        """The sockets that take a connection now, or why none of them is to be believed."""


class Whose(Gate, Protocol):
    """Who listens at the address of an attached server of this machine."""

    async def users(self) -> Sequence[str]:
        """Their names; none where that cannot be seen."""


async def users_of(whose: Whose | None) -> tuple[str, ...]:
    """Those of a server on this machine; of another one none is seen."""
    return () if whose is None else tuple(await whose.users())


class StrangerError(Exception):
    """Somebody else listens there."""

    def __init__(self, fault: ModelFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def asking(gate: Gate | None) -> dict[str, object]:
    """The extension of one request that asks this gate."""
    if gate is None:
        return {}
    before: frozenset[int] = frozenset()

    async def told(event: str, details: Mapping[str, object]) -> None:
        nonlocal before
        if event == "connection.connect_tcp.started":
            before = _believed(await gate.look())
        elif event == "connection.connect_tcp.complete":
            stream: Any = details["return_value"]
            try:
                after = _believed(await gate.look())
                if not after or after != before:
                    raise StrangerError(_SWAPPED if after else _UNSEEN)
            except BaseException:
                await stream.aclose()
                raise

    return {"trace": told}


def _believed(seen: frozenset[int] | ModelFault) -> frozenset[int]:
    if isinstance(seen, ModelFault):
        raise StrangerError(seen)
    return seen
