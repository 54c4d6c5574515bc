"""A line of the log is one line, says what it is, and shows no prompt.

DIAGNOSTICS
    None: tests.
"""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from batchd.core.text import printable
from batchd.edges.log import configure, is_journal


@pytest.fixture(autouse=True)
def unchanged_logger() -> Iterator[None]:
    yield
    logger.remove()
    logger.add(sys.stderr)


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


def test_a_printable_text_stays_as_it_is() -> None:
    assert printable("Grüße, 日本, 👩\u200d🔬\u00a0!") == "Grüße, 日本, 👩\u200d🔬\u00a0!"
