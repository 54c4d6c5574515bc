"""Page: one HTML file that needs nothing else: no script, no font, no picture from elsewhere.

SUMMARY
    page(title, [heading("Tokens"), table(heads, rows), figure(svg), paragraph("...")])

    Every text is escaped and made printable here. A figure is put in as it is: `core/drawing` escaped it.

DIAGNOSTICS
    None: values in, text out.
"""

from collections.abc import Iterable, Sequence
from html import escape

from batchd.core.text import printable

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2430; margin: 2rem auto; max-width: 64rem;
padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; margin: .6rem 0 }
td, th { padding: .25rem .9rem .25rem 0; text-align: left;
vertical-align: top } th { border-bottom: 1px solid #667085 } div.wide { overflow-x: auto }
tr + tr td { border-top: 1px solid #e3e6ec } td.number, th.number { text-align: right }
td.number { white-space: nowrap } p.faint { color: #667085 } svg { max-width: 100%; height: auto }
"""

#: A longer word, such as a digest, may be broken after so many characters each. Shorter ones never are.
_WORD_CHARS = 24

#: Neither scripts nor anything from elsewhere would be run or fetched, whatever got into a text.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file."""
    shown = _shown(title)
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{shown}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{shown}</h1>",
            *parts,
            "</body></html>\n",
        )
    )


def heading(text: str) -> str:
    return f"<h2>{_shown(text)}</h2>"


def paragraph(text: str, is_faint: bool = False) -> str:
    opening = '<p class="faint">' if is_faint else "<p>"
    return f"{opening}{_shown(text)}</p>"


def figure(svg: str) -> str:
    return f"<div>{svg}</div>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int | None = None) -> str:
    """Columns from `numbers_from` on are numbers, and stand at the right; None: none."""

    def cells(texts: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{_class(place, numbers_from)}>{_cell(text)}</{tag}>" for place, text in enumerate(texts)
        )

    body = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    head = f"<thead><tr>{cells(heads, 'th')}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>\n{body}\n</tbody></table></div>'


def _class(place: int, numbers_from: int | None) -> str:
    return ' class="number"' if numbers_from is not None and place >= numbers_from else ""


def _cell(text: str) -> str:
    return " ".join(map(_word, printable(text).split(" ")))


def _word(word: str) -> str:
    """Escaped piece by piece, so that no break stands inside of an escape."""
    pieces = [word[start : start + _WORD_CHARS] for start in range(0, len(word), _WORD_CHARS)]
    return "<wbr>".join(map(escape, pieces))


def _shown(text: str) -> str:
    return escape(printable(text))
