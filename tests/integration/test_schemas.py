"""A real model in the embedded engine, asked for JSON by a schema that its grammar holds only in part.

SUMMARY
    What is published is held against the schema once more, by another library. `BATCHD_TEST_SCHEMA_LINES`
    is the size of the batch; 200 lines take some minutes.

DIAGNOSTICS
    None: tests.
"""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from batchd.app.verify import verify
from batchd.core.json import dumps, loads
from tests.app.premises import records
from tests.house import embedded_daemon

LINES = int(os.environ.get("BATCHD_TEST_SCHEMA_LINES", "12"))

#: Three tries of forty tokens for each line, on a slow machine with others at work.
WAIT_S = 120 + 20 * LINES

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60 + WAIT_S)]

#: Bounds and enums are held by the grammar; multiples, and these patterns, are not.
SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["fruit", "tool", "animal"]},
        "year": {"type": "integer", "minimum": 1900, "maximum": 2030},
        "score": {"type": "integer", "minimum": 0, "maximum": 100, "multipleOf": 5},
        "slug": {"type": "string", "pattern": "^(?!the)[a-z-]+$", "maxLength": 12},
    },
    "required": ["kind", "year", "score", "slug"],
    "additionalProperties": False,
}


def line(number: int) -> dict[str, Any]:
    body = {
        "model": "smollm2:135m",
        "messages": [{"role": "user", "content": f"Describe thing number {number} as JSON."}],
        "max_tokens": 80,
        "response_format": {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA}},
    }
    return {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_what_is_published_holds_and_the_rest_says_where_it_does_not(
    tmp_path: Path, small_model: Path
) -> None:
    batch = tmp_path / "things.jsonl"
    batch.write_bytes(b"".join(dumps(line(number)) + b"\n" for number in range(LINES)))
    with embedded_daemon(tmp_path, small_model, 4, BATCHD_LLAMACPP__THREADS="1") as daemon:
        result = daemon.result(daemon.submit(batch, {"pilot": 0}), WAIT_S)
        spool = daemon.spool
        assert daemon.stop() == 0
    answered, failed = records(result / "output.jsonl"), records(result / "errors.jsonl")
    assert len(answered) + len(failed) == LINES
    second = jsonschema.Draft202012Validator(SCHEMA)
    for item in answered:
        second.validate(loads(item["response"]["body"]["choices"][0]["message"]["content"].encode()))
    rejected = {item["custom_id"]: item for item in records(result / "rejected.jsonl")}
    assert failed, "with multiples of five in it the grammar alone does not hold this schema"
    assert set(rejected) == {item["custom_id"] for item in failed}
    for item in failed:
        error, kept = item["error"], rejected[item["custom_id"]]
        text = kept["body"]["choices"][0]["message"]["content"]
        match error["code"]:
            case "invalid_answer" if error["reason"] == "schema":
                assert error["path"].startswith("$")
                assert error["keyword"]
                keywords = {str(found.validator) for found in second.iter_errors(loads(text.encode()))}
                assert error["keyword"] in keywords, (error, text)
            case code:
                assert code in {"invalid_answer", "answer_cut"}
                with pytest.raises(json.JSONDecodeError):
                    json.loads(text)
    metrics = loads((result / "metrics.json").read_bytes())
    assert isinstance(metrics, dict)
    answers = metrics["answers"]
    assert answers["schema_broken"] + answers["not_json"] + answers["cut_at_bound"] == len(failed)
    assert verify(spool).findings == ()
