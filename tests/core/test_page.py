"""A page stands alone, and no text of a stranger becomes markup."""

from html.parser import HTMLParser

from batchd.core.page import figure, heading, page, paragraph, table

HOSTILE = "\"'><script src=//evil/x></script><img src=x onerror=alert(1)>\x1b\u202e"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))


def test_hostile_texts_stay_texts_everywhere() -> None:
    parts = [heading(HOSTILE), paragraph(HOSTILE, is_faint=True), table((HOSTILE,), [(HOSTILE,)], 0)]
    text = page(HOSTILE, parts)
    assert {tag for tag, _ in Tags(text).tags}.isdisjoint({"script", "img", "a", "link", "iframe"})
    assert not [
        name for _, found in Tags(text).tags for name, _ in found if name.startswith("on") or name == "src"
    ]
    assert "\x1b" not in text


def test_nothing_may_be_fetched_or_run() -> None:
    policy = dict(next(found for tag, found in Tags(page("t", [])).tags if ("http-equiv" in dict(found))))
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_figure_is_put_in_as_it_is_and_numbers_stand_right() -> None:
    text = page("t", [figure("<svg></svg>"), table(("a", "n"), [("x", "1")], 1)])
    assert "<svg></svg>" in text
    assert '<td>x</td><td class="number">1</td>' in text


def test_a_long_word_may_be_broken_and_its_text_is_the_same() -> None:
    digest = "sha256:" + "0123456789abcdef" * 4
    words = f"model {digest} {'<&>' * 20} end"
    text = table(("digest",), [(words,)])
    assert "keep-alive" in table(("case",), [("keep-alive",)])
    assert "<wbr>" in text
    assert words in [seen.strip() for seen in _Read(text).texts]


class _Read(HTMLParser):
    """The texts as a reader sees them: a place where a word may be broken is no end of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data
