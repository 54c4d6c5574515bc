"""A line of the log is one line, says what it is, and shows no prompt.

DIAGNOSTICS
    None: tests.
"""

import array
import ast
import fcntl
import io
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from batchd.core.text import printable
from batchd.edges.log import configure, is_journal, note

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "batchd").rglob("*.py"))


@pytest.fixture(autouse=True)
def unchanged_logger() -> Iterator[None]:
    yield
    logger.remove()
    logger.add(sys.stderr)


class Journald:
    """The far end of the journal's socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0)

    def entry(self) -> dict[str, str]:
        """The next entry, read as journald reads it."""
        content, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for _, _, data in ancillary:
            (fd,) = array.array("i", data)
            with os.fdopen(fd, "rb") as file:
                assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == 0xF, "journald refuses what may still change"
                file.seek(0)
                content = file.read()
        return fields_of(content)


def fields_of(content: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    while content:
        head, _, content = content.partition(b"\n")
        name, is_text, value = head.partition(b"=")
        if not is_text:
            size = int.from_bytes(content[:8], "little")
            value, content = content[8 : 8 + size], content[8 + size :]
            assert content[:1] == b"\n"
            content = content[1:]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journald() -> Iterator[Journald]:
    with tempfile.TemporaryDirectory() as place:  # short: such an address has at most 107 bytes
        journald = Journald(f"{place}/socket")
        yield journald
        journald.socket.close()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_journal_line_begins_with_its_priority() -> None:
    stream = io.StringIO()
    configure("DEBUG", stream, journal=True)
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")
    logger.critical("e")
    assert stream.getvalue() == "<7>a\n<6>b\n<4>c\n<3>d\n<2>e\n"


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure("WARNING", stream, journal=True)
    logger.info("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\n<0>forged", "a\\x0a<0>forged"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("line\u2028separator", "line\\u2028separator"),
        (os.fsdecode(b"\xff"), "\\udcff"),
        ("\x9b31m", "\\x9b31m"),
        ("naïve 日本", "naïve 日本"),
        ("{not} {0} <red>a field</red>", "{not} {0} <red>a field</red>"),
    ],
)
def test_a_name_can_neither_forge_a_line_nor_drive_the_terminal(name: str, shown: str) -> None:
    stream = io.StringIO()
    configure("INFO", stream, journal=True)
    logger.info("claimed {}", name)
    assert stream.getvalue() == f"<6>claimed {shown}\n"


def fail_over(prompt: str) -> None:
    raise ValueError("a\n<0>forged")


def test_a_trace_is_prefixed_line_by_line_and_shows_no_values() -> None:
    stream = io.StringIO()
    configure("INFO", stream, journal=True)
    try:
        fail_over("-".join(["my", "prompt"]))
    except ValueError:
        logger.exception("it failed")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "<3>it failed"
    assert any("ValueError" in line for line in lines)
    assert all(line.startswith("<3>") for line in lines)
    assert "my-prompt" not in stream.getvalue()


def test_an_entry_of_the_journal_has_fields(journald: Journald) -> None:
    stream = io.StringIO()
    configure("INFO", stream, True, journald.address)
    logger.bind(event="accepted", batch_id="batch_1", lines=7).warning("{} lines", 7)
    fields = journald.entry()
    assert fields.pop("CODE_FILE") == __file__
    assert int(fields.pop("CODE_LINE")) > 0
    assert fields == {
        "MESSAGE": "7 lines",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "batchd",
        "CODE_FUNC": "test_an_entry_of_the_journal_has_fields",
        "EVENT": "accepted",
        "BATCH_ID": "batch_1",
        "LINES": "7",
    }
    assert stream.getvalue() == ""


@pytest.mark.parametrize("name", ["a\n<0>forged\nPRIORITY=0", "\x1b]52;c;aGk=\x07", "\u202egnp", "\udcff"])
def test_a_name_forges_no_field(journald: Journald, name: str) -> None:
    configure("INFO", io.StringIO(), True, journald.address)
    logger.bind(event="attempt", custom_id=name).info("request {}", name)
    fields = journald.entry()
    assert fields["CUSTOM_ID"] == printable(name)
    assert fields["MESSAGE"] == f"request {printable(name)}"
    assert fields["PRIORITY"] == "6"
    assert set(fields) <= {
        *("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "CODE_FILE", "CODE_LINE", "CODE_FUNC"),
        *("EVENT", "CUSTOM_ID"),
    }


def test_what_is_bound_cannot_change_what_the_log_says_itself(journald: Journald) -> None:
    configure("INFO", io.StringIO(), True, journald.address)
    logger.bind(message="forged", priority=0, _pid=1, **{"a b": "c"}).info("real")
    fields = journald.entry()
    assert (fields["MESSAGE"], fields["PRIORITY"]) == ("real", "6")
    assert not {"_PID", "A B"} & set(fields)


def test_a_trace_is_one_entry_whose_lines_stand_below_its_first(journald: Journald) -> None:
    configure("INFO", io.StringIO(), True, journald.address)
    try:
        fail_over("-".join(["my", "prompt"]))
    except ValueError:
        logger.exception("it failed")
    first, *below = journald.entry()["MESSAGE"].split("\n")
    assert first == "it failed"
    assert all(line.startswith("    ") for line in below)
    assert any("<0>forged" in line for line in below)
    assert not any("my-prompt" in line for line in below)


def test_an_entry_beyond_a_datagram_arrives_whole(journald: Journald) -> None:
    configure("INFO", io.StringIO(), True, journald.address)
    fields = {f"field_{number}": "x" * 8_000 for number in range(40)}
    logger.bind(**fields).info("large")
    entry = journald.entry()
    assert all(entry[name.upper()] == value for name, value in fields.items())


def test_without_a_journal_at_its_address_the_lines_go_to_the_stream(tmp_path: Path) -> None:
    stream = io.StringIO()
    configure("INFO", stream, True, str(tmp_path / "nobody"))
    logger.bind(event="x").info("kept")
    assert stream.getvalue() == "<6>kept\n"


def test_a_journal_that_does_not_read_is_not_waited_for_and_learns_how_many_it_missed(
    journald: Journald,
) -> None:
    configure("INFO", io.StringIO(), True, journald.address)
    sent = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        for _ in range(10_000):
            try:
                filler.sendto(b"MESSAGE=filler\n", journald.address)
                sent += 1
            except BlockingIOError:
                break
    logger.info("lost")
    logger.info("lost too")
    for _ in range(sent):
        journald.entry()
    logger.info("here again")
    assert journald.entry()["MESSAGE"] == "(2 entries before this one were lost) here again"
    logger.info("as ever")
    assert journald.entry()["MESSAGE"] == "as ever"


def test_a_note_of_the_app_is_shown_as_it_is(journald: Journald) -> None:
    configure("INFO", io.StringIO(), True, journald.address)
    note("WARNING", "reload_refused", "a {brace} and <red>no colour</red>", setting="slots")
    fields = journald.entry()
    assert (fields["MESSAGE"], fields["PRIORITY"]) == ("a {brace} and <red>no colour</red>", "4")
    assert (fields["EVENT"], fields["SETTING"]) == ("reload_refused", "slots")


def test_a_terminal_gets_colours_and_a_file_does_not() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        configure("INFO", stream, journal=False)
        logger.warning("hot")
    assert "\x1b[33mwarning" in terminal.getvalue()
    assert "\x1b" not in file.getvalue()
    assert file.getvalue().endswith("warning  hot\n")


def test_a_stream_of_few_letters_takes_every_line() -> None:
    raw = io.BytesIO()
    configure("INFO", io.TextIOWrapper(raw, encoding="ascii"), journal=True)
    logger.info("日本")
    assert raw.getvalue() == b"<6>\\u65e5\\u672c\n"


def test_a_closed_stream_loses_the_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    configure("INFO", stream, journal=True)
    stream.close()
    logger.info("into the void")
    assert capsys.readouterr() == ("", "")


def test_configuring_again_writes_to_one_place_only() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("INFO", first, journal=True)
    configure("INFO", second, journal=True)
    logger.info("once")
    assert (first.getvalue(), second.getvalue()) == ("", "<6>once\n")


def test_the_journal_is_known_by_the_file_behind_the_stream(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as stream:
        found = os.fstat(stream.fileno())
        assert is_journal(f"{found.st_dev}:{found.st_ino}", stream)
        assert not is_journal(f"{found.st_dev}:{found.st_ino + 1}", stream)
        assert not is_journal(None, stream)
    assert not is_journal("1:1", io.StringIO())


LEVELS = {"trace", "debug", "info", "success", "warning", "error", "critical", "exception", "log"}


def calls_of_the_logger(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            inner: ast.expr = node.func.value
            while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
                inner = inner.func.value
            if isinstance(inner, ast.Name) and inner.id == "logger":
                yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_entry_has_a_constant_event_to_search_by(path: Path) -> None:
    """`logger.bind(event="claimed", batch_id=batch_id).info(...)`; the text is a constant template."""
    for call in calls_of_the_logger(path):
        bound = ast.unparse(call.func)
        if path.name != "log.py":
            assert re.search(r"bind\(event='[a-z_]+'", bound), f"line {call.lineno}: {bound} has no event"
            assert isinstance(call.args[0], ast.Constant), f"line {call.lineno}: a text that is not constant"
        if re.search(r"batch_id|batch\.id", ast.unparse(call).partition(bound)[2]):
            assert "batch_id=" in bound, f"line {call.lineno}: names a batch and has no batch_id"


def test_a_printable_text_stays_as_it_is() -> None:
    assert printable("Grüße, 日本, 👩\u200d🔬\u00a0!") == "Grüße, 日本, 👩\u200d🔬\u00a0!"
