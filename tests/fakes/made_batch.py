"""An accepted batch, made without the intake: request lines in a memory journal, parsed, grouped, planned.

SUMMARY
    chat("a")                     one request line as an object
    made_batch([chat("a")])       the batch, its journal at the phase `in_progress`

DIAGNOSTICS
    Bug: AssertionError for a line that is no request, unless it is given as None, which is a faulty one.
"""

import io
import zlib
from collections.abc import Mapping, Sequence

from batchd.core.chats import Chats
from batchd.core.fault import LineFault
from batchd.core.fit import WINDOW_TOKENS_MAX
from batchd.core.json import dumps
from batchd.core.lifecycle import Phase
from batchd.core.options import Options
from batchd.core.plan import build_plan
from batchd.core.prefix import PrefixGroups
from batchd.core.record import Copy, LineRow, NewLine
from batchd.core.request import LineLimits, Request, parse_line
from batchd.core.result import line_fault_line, request_id
from batchd.core.strategy import Strategy
from batchd.core.summary import Acceptance
from batchd.daemon.ports import Batch
from tests.fakes.memory_journal import MemoryJournal

ID = f"batch_{0:032x}"

LIMITS = LineLimits()

Line = Mapping[str, object]


def chat(custom_id: str, system: str = "Judge.", model: str = "m", bound: int = 16, text: str = "hi") -> Line:
    """A chat request; those with the same `system` are one group."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "max_completion_tokens": bound}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def json_chat(custom_id: str, schema: Mapping[str, object] | None = None, **parameters: object) -> Line:
    """A chat request for JSON: an object, or what the schema says."""
    asked: Mapping[str, object] = {"type": "json_object"}
    if schema is not None:
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    line = chat(custom_id)
    body = {**line["body"], "response_format": asked, **parameters}  # type: ignore[dict-item]
    return {**line, "body": body}


def embed(custom_id: str, model: str = "e") -> Line:
    """A text to embed."""
    body = {"model": model, "input": "hi"}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}


def content(lines: Sequence[Line | None]) -> bytes:
    """The batch file of these lines."""
    return b"".join((b"no request" if line is None else dumps(line)) + b"\n" for line in lines)


def made_batch(
    lines: Sequence[Line | None],
    journal: MemoryJournal | None = None,
    batch_id: str = ID,
    copies: Mapping[int, int] | None = None,
    strategy: Strategy = Strategy.PREFIX,
    window_tokens_max: int = WINDOW_TOKENS_MAX,
) -> Batch:
    """Accepted and begun. `copies`: which line is one of which."""
    journal = MemoryJournal() if journal is None else journal
    raw = content(lines)
    windows = window_tokens_max
    groups = PrefixGroups(lambda index: _request(raw.splitlines()[index]), window_tokens_max=windows)
    chats = Chats(windows)
    rows: list[NewLine] = []
    offset = 0
    for index, line in enumerate(raw.splitlines()):
        parsed = parse_line(line, index + 1, LIMITS, None)
        assert isinstance(parsed, Request) == (lines[index] is not None), parsed
        original = (copies or {}).get(index)
        if isinstance(parsed, Request) and original is None:
            groups.add(index, parsed)
            chats.add(index, parsed)
        row = LineRow(offset, len(line), zlib.crc32(line), -isinstance(parsed, LineFault), index + 1)
        fault = (
            line_fault_line(parsed, request_id(batch_id, index)) if isinstance(parsed, LineFault) else None
        )
        copy = None if original is None else Copy(original, parsed.custom_id or "")
        rows.append(NewLine(index, row, fault, copy))
        offset += len(line) + 1
    journal.add_lines(rows)
    is_chats = strategy is Strategy.CONVERSATION
    plan = chats.plan(len(lines)) if is_chats else build_plan(groups, len(lines))
    journal.accept(plan, acceptance(len(lines), strategy).to_meta())
    journal.set_phase(Phase.IN_PROGRESS, {"in_progress_at": "1800000000.0"})
    return Batch(batch_id, b"reviews.jsonl", journal, io.BytesIO(raw))


def _request(raw: bytes) -> Request:
    parsed = parse_line(raw, 1, LIMITS, None)
    assert isinstance(parsed, Request)
    return parsed


def acceptance(total: int = 1, strategy: Strategy = Strategy.PREFIX) -> Acceptance:
    """What the intake found out about a batch that runs."""
    return Acceptance(
        name="reviews.jsonl",
        total=total,
        faulty=0,
        group_count=1,
        prompt_tokens=40,
        created_at=1_800_000_000.0,
        sha256="ab" * 32,
        size_bytes=100,
        endpoint="/v1/chat/completions",
        model="m",
        options=Options(),
        is_strict=False,
        notes=(),
        refusals=(),
        strategy=strategy,
    )
