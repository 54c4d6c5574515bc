"""The child that holds values against schemas, for `edges/validation`.

SUMMARY
    `python -m batchd.edges.validation.child` says that it is ready, reads frames from the socket that is its
    standard input, and answers each with one, until the socket is closed. Each frame is worked on for at most
    `cpu_s` seconds of processor time: then the kernel ends the process, whatever it is in the middle of.

    A frame: what is wanted (one byte), the lengths of schema and value (4 bytes each, big-endian), both as
    JSON. The answer: its length, and a JSON object. Of the schemas that came last the compiled form is kept.

DIAGNOSTICS
    None: what goes wrong here ends this process, and its parent sees that.
"""

import resource
import signal
import socket
import struct
import sys
import time
from collections import OrderedDict
from dataclasses import asdict
from enum import IntEnum

from batchd.core.json import dumps, loads
from batchd.core.schema import Schema, SchemaFault, read_schema

#: Compiled schemas that are kept, by number and by the bytes of their text: a compiled one takes up to two
#: hundred times its text (measured, with nothing in it but patterns), so these are some 200 MB at worst.
KEPT_MAX = 256
KEPT_BYTES_MAX = 2**20

#: Address space. A reason that looks at every way in which a value could hold may take any amount.
MEMORY_BYTES_MAX = 2**30


class Wanted(IntEnum):
    """What a frame asks."""

    READ = 0  # is this a schema?
    REASON = 1  # does the value hold, and if not, why not?
    VERDICT = 2  # does the value hold?


HEAD = struct.Struct(">BII")
LENGTH = struct.Struct(">I")


class Kept:
    """The schemas that came last, compiled."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[bytes, Schema] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Kept: {len(self._schemas)} schemas of {self._bytes} bytes>"

    def of(self, text: bytes) -> Schema:
        """The schema of this text; SchemaFault."""
        if text in self._schemas:
            self._schemas.move_to_end(text)
            return self._schemas[text]
        value = loads(text)
        assert isinstance(value, dict), "the parent sends objects"
        schema = read_schema(value)
        self._schemas[text] = schema
        self._bytes += len(text)
        while len(self._schemas) > 1 and (len(self._schemas) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX):
            oldest, _ = self._schemas.popitem(last=False)
            self._bytes -= len(oldest)
        return schema


def answer_to(kept: Kept, wanted: Wanted, schema: bytes, value: bytes) -> dict[str, object]:
    """What is said of one frame."""
    try:
        ready = kept.of(schema)
    except SchemaFault as fault:
        return {"fault": str(fault)}
    if wanted is Wanted.READ:
        return {}
    read = loads(value)
    if wanted is Wanted.VERDICT:
        return {"holds": ready.holds(read)}
    breach = ready.breach(read)
    return {"holds": breach is None} | ({} if breach is None else {"breach": asdict(breach)})


def serve(connection: socket.socket, cpu_s: float) -> None:
    """Answer until the other end is closed."""
    kept = Kept()
    _say(connection, {})
    with connection.makefile("rb") as source:
        while len(head := source.read(HEAD.size)) == HEAD.size:
            wanted, schema_bytes, value_bytes = HEAD.unpack(head)
            schema, value = source.read(schema_bytes), source.read(value_bytes)
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, cpu_s)  # its signal is not caught: it ends us
            told = answer_to(kept, Wanted(wanted), schema, value)
            signal.setitimer(signal.ITIMER_PROF, 0)
            told["cpu_s"] = time.process_time() - began
            _say(connection, told)


def _say(connection: socket.socket, told: dict[str, object]) -> None:
    said = dumps(told)
    connection.sendall(LENGTH.pack(len(said)) + said)


def main() -> int:
    """The child; its one argument is the limit in seconds."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # they are for the daemon; we end with our socket
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = MEMORY_BYTES_MAX if hard == resource.RLIM_INFINITY else min(hard, MEMORY_BYTES_MAX)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # ended by a signal is how some of us end
    serve(socket.socket(fileno=0), float(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
