"""The commands of the page on the service, as they stand there.

SUMMARY
    Each block without a language is a list of commands, named by its first one's purpose in `BLOCKS`. A block
    that is added or moved makes `blocks` fail, so that page and test cannot drift apart.

DIAGNOSTICS
    AssertionError: the page has other blocks than this file says.
"""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "install.md"

#: The page's blocks, in order.
BLOCKS = (
    *("packages", "install", "member", "health", "search", "copy", "collect", "counts"),
    *("reload", "engine"),
)


def unmarked(text: str) -> list[str]:
    """The blocks of a page that name no language."""
    return [
        block for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if not language
    ]


def blocks() -> dict[str, list[str]]:
    """The page's commands, by the name of their block."""
    found = [block.splitlines() for block in unmarked(PAGE.read_text(encoding="utf-8"))]
    assert len(found) == len(BLOCKS), f"{PAGE.name} has {len(found)} blocks of commands, not {len(BLOCKS)}"
    return dict(zip(BLOCKS, found, strict=True))


def packages() -> list[str]:
    """What the page has apt install."""
    (command,) = blocks()["packages"]
    verb, _, names = command.partition(" -y ")
    assert verb == "apt-get install"
    return names.split()
