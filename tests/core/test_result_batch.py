import json
from dataclasses import replace

import pytest
from openai.types import Batch

from batchd.core.fault import Refusal
from batchd.core.result import ERRORS_MAX, BatchFacts, TokenTotals, batch_object

FACTS = BatchFacts(
    id="batch_1",
    endpoint="/v1/chat/completions",
    input_file_id="a.jsonl",
    completion_window="24h",
    status="completed",
    created_at=1_700_000_000.9,
    total=3,
    completed=2,
    failed=1,
)
MOMENTS = [
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
]
FIELDS = {
    "id",
    "object",
    "endpoint",
    "model",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    *MOMENTS,
    "request_counts",
    "usage",
    "metadata",
}


def test_the_real_package_reads_a_bare_batch_and_every_field_is_written() -> None:
    value = json.loads(json.dumps(batch_object(FACTS)))
    batch = Batch.model_validate(value, strict=True)
    assert set(value) == FIELDS
    assert (batch.created_at, batch.status, batch.errors, batch.metadata) == (
        1_700_000_000,
        "completed",
        None,
        None,
    )
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
        3,
        2,
        1,
    )
    assert json.loads(batch.model_dump_json(exclude_unset=True)) == value


def test_the_real_package_reads_a_full_batch() -> None:
    facts = replace(
        FACTS,
        status="failed",
        completed=0,
        failed=3,
        model="m",
        errors=(Refusal("invalid_url", "No.", "url", 2), Refusal("empty_file", "Empty.")),
        output_file_id="output.jsonl",
        error_file_id="errors.jsonl",
        usage=TokenTotals(100, 90, 7, 2),
        metadata={"night": "1"},
        in_progress_at=10.9,
        expires_at=11.9,
        finalizing_at=12.9,
        completed_at=13.9,
        failed_at=14.9,
        expired_at=15.9,
        cancelling_at=16.9,
        cancelled_at=17.9,
    )
    value = batch_object(facts)
    batch = Batch.model_validate(value, strict=True)
    assert set(value) == FIELDS
    assert [getattr(batch, name) for name in MOMENTS] == list(range(10, 18))
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(error.code, error.param, error.line) for error in batch.errors.data] == [
        ("invalid_url", "url", 2),
        ("empty_file", None, None),
    ]
    assert (batch.output_file_id, batch.error_file_id) == ("output.jsonl", "errors.jsonl")
    assert (batch.model, batch.metadata) == ("m", {"night": "1"})
    assert value["usage"] == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 90},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 107,
    }


@pytest.mark.parametrize(
    "status",
    ["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"],
)
def test_the_real_package_knows_each_status(status: str) -> None:
    Batch.model_validate(batch_object(replace(FACTS, status=status)), strict=True)


def test_the_list_of_errors_is_bounded() -> None:
    errors = [Refusal("c", "m", None, line) for line in range(ERRORS_MAX + 5)]
    value = batch_object(replace(FACTS, errors=errors))
    assert isinstance(value["errors"], dict)
    assert len(value["errors"]["data"]) == ERRORS_MAX
