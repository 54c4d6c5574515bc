"""Steps: how far a long measurement is, on standard error.

SUMMARY
    A bar with what is done now on a terminal; elsewhere one line for each step, said once.

DIAGNOSTICS
    None.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from batchd.cli.terminal import console, say


@contextmanager
def step_display() -> Iterator[Callable[[float, str], None]]:
    """A function to hand (how much is done, from 0 to 1; what is done now) to."""
    screen = console(is_error=True)
    if not screen.is_terminal:
        said: set[str] = set()

        def tell(share: float, text: str) -> None:
            if text not in said:
                said.add(text)
                say(f"{share:>4.0%}  {text}")

        yield tell
        return
    columns = (BarColumn(bar_width=28), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
    with Progress(
        *columns, TextColumn("{task.description}", markup=False), console=screen, transient=True
    ) as bars:
        bar = bars.add_task("", total=1.0)
        yield lambda share, text: bars.update(bar, completed=share, description=text)
