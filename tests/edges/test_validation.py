"""Validation: looks at schemas and answers that would take for ever, and a child that is killed."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.core.json import dumps
from batchd.core.schema import Reason
from batchd.edges import validation
from batchd.edges.validation import SCHEMA_BYTES_MAX, Validation
from batchd.edges.validation.child import KEPT_BYTES_MAX, KEPT_MAX, Kept, Wanted, answer_to
from batchd.errors import UnavailableError

SCHEMA = dumps({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}})

#: References that double at each of sixty steps: read in no time, and held against for longer than the sun.
LAUGHS = dumps(
    {
        "$defs": {
            **{f"a{step}": {"allOf": [{"$ref": f"#/$defs/a{step + 1}"}] * 2} for step in range(60)},
            "a60": {"type": "string"},
        },
        "$ref": "#/$defs/a0",
    }
)


def branch(kind: str) -> dict[str, object]:
    sides = {"left": {"$ref": "#/$defs/term"}, "right": {"$ref": "#/$defs/term"}}
    return {"type": "object", "properties": {"kind": {"const": kind}, **sides}, "required": ["kind", *sides]}


#: An honest schema of terms. To say why a deep one is wrong, every branch is tried at every level.
TERMS = dumps(
    {"$defs": {"term": {"anyOf": [*map(branch, "abc"), {"type": "integer"}]}}, "$ref": "#/$defs/term"}
)


def term(depth: int, leaf: object) -> bytes:
    value = leaf
    for _ in range(depth):
        value = {"kind": "c", "left": value, "right": 1}
    return dumps(value)


@contextlib.contextmanager
def looking(cpu_s: float = 0.3) -> Iterator[Validation]:
    with contextlib.closing(Validation(cpu_s)) as made:
        yield made


def pid_of(made: Validation) -> int:
    assert made._child is not None
    return made._child.pid


async def test_a_breach_comes_back_as_it_was_found() -> None:
    with looking() as made:
        assert await made.breach(SCHEMA, b'{"a": 1}') is None
        found = await made.breach(SCHEMA, b'{"a": 0}')
        assert found is not None
        assert (found.reason, found.path, found.keyword) == (Reason.SCHEMA, "$.a", "minimum")


def test_a_schema_that_is_none_is_refused_and_the_time_it_took_is_told() -> None:
    with looking() as made:
        assert made.refusal(SCHEMA).reason is None
        looked = made.refusal(dumps({"$ref": "http://example.com/x"}))
        assert "http://example.com/x" in str(looked.reason)
        assert looked.cpu_s >= 0


def test_a_schema_of_megabytes_is_not_read_at_all() -> None:
    with looking() as made:
        looked = made.refusal(b'{"const": "' + b"x" * SCHEMA_BYTES_MAX + b'"}')
        assert looked.reason == f"it is longer than {SCHEMA_BYTES_MAX} bytes"
        assert repr(made) == "<Validation: no child>"


async def test_a_look_that_would_take_for_ever_is_ended_and_the_next_one_is_answered() -> None:
    with looking() as made:
        assert made.refusal(LAUGHS).reason is None
        first = pid_of(made)
        found = await made.breach(LAUGHS, b'"x"')
        assert found is not None
        assert "cannot be held against its schema in 0.3 s" in found.text
        assert await made.breach(SCHEMA, b'{"a": 1}') is None
        assert pid_of(made) != first


async def test_an_answer_whose_reason_cannot_be_found_is_still_known_to_be_wrong() -> None:
    with looking() as made:
        assert await made.breach(TERMS, term(14, 1)) is None
        found = await made.breach(TERMS, term(14, "no term"))
        assert found is not None
        assert "where, cannot be found" in found.text


async def test_the_event_loop_goes_on_beside_a_long_look() -> None:
    with looking() as made:
        look = asyncio.get_running_loop().create_task(made.breach(LAUGHS, b'"x"'))
        turns = 0
        while not look.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 20, "a loop that was held up would have had a turn or two"


def test_a_child_that_is_killed_over_and_over_for_want_of_memory_blames_no_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes the memory of whoever has most of it, and what the look is of is no reason."""
    monkeypatch.setattr(validation, "START_PAUSES_S", (0.0, 0.01, 0.01))
    killed = tmp_path / "killed"
    program = (
        "import os, sys, pathlib\n"
        "from batchd.edges.validation import child\n"
        f"killed = pathlib.Path({str(killed)!r})\n"
        "def answer_to(*frame, real=child.answer_to):\n"
        "    before = len(killed.read_bytes()) if killed.exists() else 0\n"
        "    if before < 3:\n"
        "        killed.write_bytes(bytes(before + 1))\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return real(*frame)\n"
        "child.answer_to = answer_to\n"
        "child.main()\n"
    )
    with contextlib.closing(Validation(command=(sys.executable, "-c", program))) as made:
        assert made.refusal(SCHEMA).reason is None
    assert len(killed.read_bytes()) == 3


async def test_a_child_that_somebody_killed_is_replaced_and_the_answer_is_not_blamed() -> None:
    with looking() as made:
        assert made.refusal(SCHEMA).reason is None
        os.kill(pid_of(made), signal.SIGKILL)
        assert await made.breach(SCHEMA, b'{"a": 1}') is None


async def test_a_child_that_was_stopped_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "LOOK_TIMEOUT_S", 5.0)
    with looking() as made:
        assert made.refusal(SCHEMA).reason is None
        assert made._line is not None
        made._line.settimeout(0.2)
        os.kill(pid_of(made), signal.SIGSTOP)
        assert await made.breach(SCHEMA, b'{"a": 1}') is None


def test_no_child_at_all_is_said_and_blames_no_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "START_PAUSES_S", (0.0,))
    for command in (("/nowhere/python",), (sys.executable, "-c", "raise SystemExit(1)")):
        made = Validation(command=command)
        with contextlib.closing(made), pytest.raises(UnavailableError, match="cannot be started"):
            made.refusal(SCHEMA)


def test_terminal_and_service_manager_speak_to_the_daemon_only() -> None:
    with looking() as made:
        made.refusal(SCHEMA)
        child = pid_of(made)
        assert os.getsid(child) != os.getsid(0)
        os.kill(child, signal.SIGTERM)
        assert made.refusal(SCHEMA).reason is None
        assert pid_of(made) == child


def test_the_child_ends_with_its_socket_and_holds_nothing_of_ours() -> None:
    made = Validation()
    with contextlib.closing(made):
        made.refusal(SCHEMA)
        child = made._child
        assert child is not None
        opened = {str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()}
        assert all(name.startswith(("socket:", "/dev/null", "/dev/urandom")) for name in opened), opened
        assert made._line is not None
        made._line.close()
        child.wait(10)


def test_many_threads_are_answered_each_with_its_own() -> None:
    with looking() as made:
        wrong: list[int] = []

        def ask(number: int) -> None:
            text = dumps({"properties": {"n": {"const": number}}})
            for _ in range(20):
                found = made._breach(text, dumps({"n": number}))
                other = made._breach(text, dumps({"n": number + 1}))
                if found is not None or other is None:
                    wrong.append(number)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_compiled_schemas_are_kept_by_number_and_by_bytes() -> None:
    kept = Kept()
    for number in range(KEPT_MAX + 50):
        answer_to(kept, Wanted.READ, dumps({"const": number}), b"")
    assert repr(kept).startswith(f"<Kept: {KEPT_MAX} schemas")
    large = dumps({"enum": ["x" * 1_000] * 600})
    for number in range(4):
        answer_to(kept, Wanted.READ, large[:-1] + b',"title":"%d"}' % number, b"")
    assert kept._bytes <= KEPT_BYTES_MAX
    first = dumps({"const": "kept"})
    assert kept.of(first) is kept.of(first)


def test_the_child_answers_each_kind_of_question() -> None:
    kept = Kept()
    assert answer_to(kept, Wanted.READ, SCHEMA, b"") == {}
    assert answer_to(kept, Wanted.VERDICT, SCHEMA, b'{"a": 0}') == {"holds": False}
    assert answer_to(kept, Wanted.REASON, SCHEMA, b'{"a": 1}') == {"holds": True}
    assert answer_to(kept, Wanted.REASON, SCHEMA, b'{"a": 0}')["holds"] is False
    assert "fault" in answer_to(kept, Wanted.READ, b'{"type": 1}', b"")


def test_a_schema_that_another_batchd_took_is_a_breach_and_no_crash() -> None:
    with looking() as made:
        found = made._breach(b'{"type": 1}', b"{}")
        assert found is not None
        assert "its schema cannot be used" in found.text
