"""Drawing: the strokes that pictures are made of, as SVG.

SUMMARY
    opened, text, line, dot, box    elements
    steps                           the marks of an axis
    Panel                           a frame with marks, in which a chart is drawn

    Every text is made printable and escaped here: names of models and files come from strangers.

DIAGNOSTICS
    None: values in, text out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from batchd.core.text import printable

INK, FAINT, GRID = "#1f2430", "#667085", "#e3e6ec"
GOOD, BAD, CHOSEN = "#2f6fb2", "#c2483d", "#e08a00"


def opened(width: int, height: int) -> list[str]:
    """The beginning of a picture on a white ground; `</svg>` ends it."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]


def text(
    x: float,
    y: float,
    said: str,
    *,
    anchor: str = "start",
    fill: str = INK,
    size: int = 12,
    weight: str = "400",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{escape(printable(said))}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1.0, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def dot(x: float, y: float, fill: str, label: str, radius: float = 5.0, stroke: str = "none") -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{stroke}" stroke-width="2">'
        f"<title>{escape(printable(label))}</title></circle>"
    )


def box(x: float, y: float, width: float, height: float, fill: str, label: str = "") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}">'
        f"<title>{escape(printable(label))}</title></rect>"
    )


def steps(top: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to a little above `top`."""
    raw = max(top, 1e-9) / count
    power = 10 ** len(str(int(raw))) / 10 if raw >= 1 else 10 ** -len(f"{1 / raw:.0f}")
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20, 50, 100) if power * factor >= raw)
    return [step * number for number in range(count + 1)]


@dataclass(frozen=True, slots=True)
class Panel:
    """A place for one chart."""

    left: float
    top: float
    width: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def frame(self, title: str, below: str) -> Iterator[str]:
        """Title, base line, and what the axis below it shows."""
        yield text(self.left, self.top - 12, title, weight="600")
        yield line(self.left, self.bottom, self.left + self.width, self.bottom, FAINT)
        yield text(self.left + self.width / 2, self.bottom + 38, below, anchor="middle", fill=FAINT)

    def grid(self, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
        """Faint lines at these heights, each with its label."""
        for y, label in marks:
            yield line(self.left, y, self.left + self.width, y, GRID)
            yield text(self.left - 8, y + 4, label, anchor="end", fill=FAINT)

    def height_of(self, value: float, top: float) -> float:
        """Where a value of an axis that ends at `top` stands."""
        return self.bottom - min(max(value / top, 0.0), 1.0) * self.height
