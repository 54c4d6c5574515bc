"""Sheet: a comparison for people, as table rows and as one HTML file.

SUMMARY
    HEADS, cells           the table, on a terminal and in the file
    PROJECTED, projected   the table of the projection, labelled as one
    sheet                  the file, with both pictures in it
    table_sheet            the rows of what must be fast, as a file

DIAGNOSTICS
    None: values in, text out.
"""

from collections.abc import Sequence

from batchd.core import bars
from batchd.core.bars import NOT_TOLD, Measured
from batchd.core.charts import draw_cases, draw_cost
from batchd.core.comparison import CASES, PROJECTED_LINES, Comparison, Projection, Row, Spread
from batchd.core.model import Source
from batchd.core.page import figure, heading, page, paragraph, table
from batchd.core.space import in_units
from batchd.core.status import duration
from batchd.tools.bench import Plan, Probed
from batchd.tools.machine import Machine

HEADS = (
    "case",
    "lines",
    "requests/s",
    "× naive",
    "× bare",
    "evaluated tokens",
    "of all",
    "ideal",
    "memory of batchd",
    "of the server",
)
PROJECTED = ("case", "evaluated tokens", "time", "how")

PROJECTION_NOTE = (
    f"A projection to {PROJECTED_LINES:,} lines of the same kind. Nothing of it was measured: "
    "it goes on where the measured sizes end."
)


def cells(row: Row) -> tuple[str, ...]:
    """One row, in the order of HEADS."""
    tokens, share = _evaluated(row)
    return (
        row.case,
        f"{row.lines:,}",
        _spread(row.requests_per_s),
        _spread(row.against_base),
        _spread(row.against_bound),
        tokens,
        share,
        "-" if row.ideal_tokens is None else f"{row.ideal_tokens:,}",
        "-" if row.client_bytes is None else in_units(row.client_bytes),
        "-" if row.server_bytes is None else in_units(row.server_bytes),
    )


def _evaluated(row: Row) -> tuple[str, str]:
    """The tokens, with their spread, and their share of those that were sent."""
    told = row.evaluated_tokens
    if told is None:
        return NOT_TOLD, "-"
    about = "about " if row.source == Source.ESTIMATE else ""
    spread = f" ({told.low:,.0f}-{told.high:,.0f})" if told.high > told.low else ""
    share = f"{about}{told.median / row.prompt_tokens:.1%}" if row.prompt_tokens else "-"
    return f"{about}{told.median:,.0f}{spread}", share


def projected(projection: Projection) -> tuple[str, ...]:
    """One row, in the order of PROJECTED."""
    tokens = projection.evaluated_tokens
    return (
        projection.case,
        NOT_TOLD if tokens is None else f"{tokens:,.0f}",
        duration(projection.duration_s),
        projection.method,
    )


def on_what(probed: Probed) -> str:
    """The model and its server in a few words."""
    return (
        f"{probed.model} on {probed.engine} {probed.version} ({probed.mode}), {probed.slots} slots, "
        f"{_prompt_cache(probed.prompt_cache_mib)}"
    )


def _prompt_cache(mib: int | None) -> str:
    """With it, a server finds again what another slot has read: that helps a bad order most."""
    if mib is None:
        return f"prompts kept in host memory: {NOT_TOLD} (its default: 8,192 MiB)"
    return f"prompts kept in host memory: {f'up to {mib:,} MiB' if mib else 'none'}"


def work_words(plan: Plan, probed: Probed) -> str:
    """What the requests are."""
    rounds = f"Medians of {plan.rounds} rounds (lowest-highest)" if plan.rounds > 1 else "One run each"
    order = "shuffled" if plan.work.is_shuffled else "group by group"
    return (
        f"Requests of {probed.prompt_tokens:,} prompt tokens, about {plan.work.prompt_tokens:,} of them "
        f"shared, with answers of at most {plan.work.answer_tokens} tokens; "
        f"prefix groups: {plan.work.groups}, {order}. {rounds}; loads of the model are not in the times."
    )


def sheet(comparison: Comparison, plan: Plan, probed: Probed, machine: Machine) -> str:
    """The file."""
    said = on_what(probed)
    rows: Sequence[Row] = comparison.rows()
    return page(
        f"batchd bench: {said}",
        [
            paragraph(machine.words(), is_faint=True),
            paragraph(work_words(plan, probed)),
            figure(draw_cases(comparison, said)),
            table(HEADS, map(cells, rows), numbers_from=1),
            table(("case", "what it is"), [(case, CASES[case]) for case in comparison.cases]),
            heading(f"Projection to {PROJECTED_LINES:,} lines"),
            paragraph(PROJECTION_NOTE),
            figure(draw_cost(comparison, said)),
            table(PROJECTED, map(projected, comparison.projections()), numbers_from=None),
        ],
    )


def table_sheet(rows: Sequence[Measured], machine: Machine) -> str:
    """What must be fast, as a file."""
    return page(
        "batchd bench --overhead",
        [
            paragraph(machine.words(), is_faint=True),
            paragraph("Rows on an instant server say nothing of a model: they are what batchd itself takes."),
            table(bars.HEADS, map(bars.cells, rows)),
            *(paragraph(note) for note in bars.notes(rows)),
        ],
    )


def _spread(value: Spread | None) -> str:
    if value is None:
        return "-"
    is_spread = value.high > value.low
    return f"{value.median:.2f}" + (f" ({value.low:.2f}-{value.high:.2f})" if is_spread else "")
