"""Thirty ways to break a line: `batchd check` and the daemon's error file say the same of each."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.batches import request_line
from tests.house import LivingDaemon, read_lines
from tests.simulator.child import ChildSimulator

Line = dict[str, Any]


def good(number: int) -> Line:
    return request_line(number, system="You are terse.")


def altered(change: Callable[[Line], object]) -> Callable[[int], bytes]:
    def build(number: int) -> bytes:
        line = good(number)
        change(line)
        return json.dumps(line).encode()

    return build


def body(**values: object) -> Callable[[int], bytes]:
    return altered(lambda line: line["body"].update(values))


def message(**values: object) -> Callable[[int], bytes]:
    return altered(lambda line: line["body"]["messages"][1].update(values))


def doubled_key(number: int) -> bytes:
    return json.dumps(good(number)).encode().replace(b'"method"', b'"custom_id": "again", "method"')


def raw(content: bytes) -> Callable[[int], bytes]:
    return lambda number: content


#: What is broken, how, and the code that both must give.
BROKEN: list[tuple[Callable[[int], bytes], str]] = [
    (raw(b"{not json"), "invalid_json_line"),
    (raw(b"[1, 2]"), "invalid_json_line"),
    (raw(b'"text"'), "invalid_json_line"),
    (raw(b'{"custom_id": "\xff\xfe"}'), "invalid_json_line"),
    (raw(b'{"custom_id": NaN}'), "invalid_json_line"),
    (raw(b'{"custom_id": "\\ud800"}'), "invalid_json_line"),
    (raw(b"[" * 5_000 + b"]" * 5_000), "invalid_json_line"),
    (doubled_key, "invalid_json_line"),
    (body(seed=2**70), "invalid_json_line"),
    (altered(lambda line: line.pop("custom_id")), "missing_required_parameter"),
    (altered(lambda line: line.pop("method")), "missing_required_parameter"),
    (altered(lambda line: line.pop("url")), "missing_required_parameter"),
    (altered(lambda line: line.pop("body")), "missing_required_parameter"),
    (altered(lambda line: line.update(custom_id=7)), "invalid_type"),
    (altered(lambda line: line.update(body="text")), "invalid_type"),
    (altered(lambda line: line.update(method="GET")), "invalid_value"),
    (altered(lambda line: line.update(url="/v1/embeddings")), "invalid_url"),
    (altered(lambda line: line.update(custom_id="package-0")), "duplicate_custom_id"),
    (altered(lambda line: line["body"].pop("model")), "invalid_request"),
    (altered(lambda line: line["body"].pop("messages")), "invalid_request"),
    (body(stream=True), "streaming_unsupported"),
    (body(messages=[]), "invalid_value"),
    (body(temperature="hot"), "invalid_type"),
    (body(temperature=9), "invalid_value"),
    (body(max_completion_tokens=0), "invalid_value"),
    (body(n=2), "unsupported_parameter"),
    (body(tools=[{"type": "function", "function": {"name": "f"}}]), "unsupported_parameter"),
    (body(colour="red"), "unsupported_parameter"),
    (message(role="wizard"), "invalid_value"),
    (message(content=None), "invalid_type"),
    (message(content=""), "invalid_value"),
    (message(content=[{"type": "image_url", "image_url": {"url": "x"}}]), "unsupported_parameter"),
    (raw(b'{"custom_id": "long", "pad": "' + b"x" * 20_000 + b'"}'), "line_too_long"),
]

LINE_BYTES_MAX = 16_384


def write_broken(path: Path) -> dict[int, str]:
    """Good and broken lines by turns; line number to code."""
    expected = {}
    with path.open("wb") as file:
        for number, (build, code) in enumerate(BROKEN):
            file.write(json.dumps(good(number)).encode() + b"\n")
            file.write(build(1_000 + number) + b"\n")
            expected[2 * number + 2] = code
    return expected


def checked(path: Path) -> dict[int, str]:
    """What `batchd check` says, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "batchd", "check", "--json", str(path)],
        capture_output=True,
        timeout=60,
        check=False,
        env={"BATCHD_LINE_BYTES_MAX": str(LINE_BYTES_MAX), "HOME": str(path.parent)},
    )
    assert done.returncode == 1, done.stderr.decode()
    (report,) = [json.loads(line) for line in done.stdout.splitlines()]
    return {fault["line"]: fault["code"] for fault in report["faults"]}


def test_check_and_the_error_file_name_each_broken_line_with_its_code(tmp_path: Path) -> None:
    batch = tmp_path / "broken.jsonl"
    expected = write_broken(batch)
    assert len(expected) >= 30
    assert checked(batch) == expected
    with (
        ChildSimulator() as server,
        LivingDaemon(
            tmp_path / "spool",
            BATCHD_OLLAMA__HOST=server.address,
            BATCHD_LINE_BYTES_MAX=str(LINE_BYTES_MAX),
        ) as daemon,
    ):
        result = daemon.result(daemon.submit(batch))
    errors: list[Line] = read_lines(result / "errors.jsonl")
    output = read_lines(result / "output.jsonl")
    # Error lines come in input order, so the k-th of them belongs to the k-th broken line.
    assert [code_of(line) for line in errors] == list(expected.values())
    assert [line["error"]["line"] for line in errors if line["error"]] == [
        number for number, line in zip(expected, errors, strict=True) if line["custom_id"] is None
    ]
    assert [line["custom_id"] for line in output] == [f"package-{number}" for number in range(len(BROKEN))]


def code_of(line: Line) -> str:
    if line["response"] is None:
        return str(line["error"]["code"])
    assert line["error"] is None
    assert line["response"]["status_code"] == 400
    return str(line["response"]["body"]["error"]["code"])
