"""Summary: what intake found out about a batch, kept in the journal's meta values.

SUMMARY
    Meta values are strings; each fact is one JSON value under its name, so that a later version may add
    facts without a new schema. The publisher and the results read them back through `from_meta`.

DIAGNOSTICS
    Bug: meta values that intake did not write.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from batchd.core.cached import cached_source
from batchd.core.fault import Refusal
from batchd.core.json import dumps, loads
from batchd.core.model import Source
from batchd.core.options import Options, window_s
from batchd.core.record import Progress
from batchd.core.result import BatchFacts, TokenTotals
from batchd.core.strategy import Strategy, strategy_of
from batchd.core.validity import Answers


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The facts of an accepted batch. `refusals` is not empty when the whole batch fails."""

    name: str
    total: int
    faulty: int
    group_count: int
    prompt_tokens: int  # estimated
    created_at: float
    sha256: str
    size_bytes: int
    endpoint: str
    model: str | None
    options: Options
    is_strict: bool
    notes: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    copies: int = 0  # lines that are not computed, because an earlier one asks the same
    strategy: Strategy = Strategy.PREFIX
    # What the operator may set otherwise before the batch ends. None: an older batchd accepted it.
    deduplicate: bool | None = None
    answers: Answers | None = None

    def to_meta(self) -> dict[str, str]:
        """One string for each fact."""
        return {field.name: dumps(_plain(getattr(self, field.name))).decode() for field in fields(Acceptance)}


def from_meta(meta: Mapping[str, str]) -> Acceptance:
    """The facts as they were written."""
    values: dict[str, Any] = {
        field.name: loads(meta[field.name].encode()) for field in fields(Acceptance) if field.name in meta
    }
    values["options"] = Options(**values["options"])  # what an older batchd did not know has its default
    values["strategy"] = strategy_of(meta)
    if values.get("answers") is not None:
        values["answers"] = Answers(values["answers"])
    values["notes"] = tuple(values["notes"])
    values["refusals"] = tuple(Refusal(**refusal) for refusal in values["refusals"])
    return Acceptance(**values)


def facts_of(
    batch_id: str,
    acceptance: Acceptance,
    progress: Progress,
    status: str,
    moments: Mapping[str, float],
) -> BatchFacts:
    """What `batch.json` says at the end. `moments` has OpenAI's `*_at` names."""
    spent = progress.spent
    cached = 0 if cached_source(progress) is Source.UNKNOWN else spent.cached_tokens
    return BatchFacts(
        id=batch_id,
        endpoint=acceptance.endpoint,
        input_file_id=f"file-{acceptance.sha256[:32]}",
        completion_window=acceptance.options.completion_window,
        status=status,
        created_at=acceptance.created_at,
        expires_at=acceptance.created_at + window_s(acceptance.options.completion_window),
        total=progress.total,
        completed=progress.completed,
        failed=progress.failed,
        model=acceptance.model,
        errors=acceptance.refusals,
        output_file_id="output.jsonl" if progress.completed else None,
        error_file_id="errors.jsonl" if progress.failed else None,
        usage=TokenTotals(spent.prompt_tokens, cached, spent.completion_tokens),
        metadata=acceptance.options.metadata,
        **moments,
    )


def _plain(value: object) -> object:
    if isinstance(value, Options):
        return asdict(value)
    if isinstance(value, tuple):
        return [asdict(item) if isinstance(item, Refusal) else item for item in value]
    return value
