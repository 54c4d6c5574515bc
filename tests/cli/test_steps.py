"""How far a measurement is, where nobody watches a bar."""

import pytest

from batchd.cli.steps import step_display


def test_elsewhere_than_on_a_terminal_each_step_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with step_display() as tell:
        tell(0.0, "one")
        tell(0.4, "one")
        tell(0.5, "two\x1b[31m")
    assert capsys.readouterr().err == "  0%  one\n 50%  two\\x1b[31m\n"
