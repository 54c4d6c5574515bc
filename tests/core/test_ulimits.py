"""Which limit an errno means."""

import errno

import pytest

from batchd.core.ulimits import limit_words


@pytest.mark.parametrize(
    ("code", "command"),
    [(errno.EMFILE, "ulimit -n"), (errno.EFBIG, "ulimit -f"), (errno.ENOMEM, "ulimit -v")],
)
def test_a_limit_is_named_as_one_types_it(code: int, command: str) -> None:
    assert command in limit_words(code)


@pytest.mark.parametrize("code", [None, 0, errno.ENOENT, errno.ENOSPC])
def test_what_is_no_limit_has_no_words(code: int | None) -> None:
    assert limit_words(code) == ""
