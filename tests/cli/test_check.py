"""`batchd check`: every bad line by its number and code, the counts, the exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchd.cli import call

GOOD = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "m", "messages": [{"role": "user", "content": "hello"}]},
}


def write(folder: Path, content: bytes, name: str = "batch.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def good(custom_id: str) -> bytes:
    return json.dumps({**GOOD, "custom_id": custom_id}).encode() + b"\n"


def test_a_good_file_ends_with_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["check", str(write(tmp_path, good("a") + good("b")))]) == 0
    out = capsys.readouterr().out
    assert "2 requests, 0 of them faulty" in out
    assert "prefix groups: 1" in out
    assert "strategy: prefix" in out
    assert "saved here" in out
    assert "estimated" in out


def test_each_bad_line_is_told_by_its_number_and_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"\xef\xbb\xbf" + good("a") + b"\r\n" + good("a") + b"nope\n" + good("c").rstrip()
    path = write(tmp_path, content)
    assert call(["check", str(path)]) == 1
    out = capsys.readouterr().out
    assert f"{path}:3: duplicate_custom_id: " in out
    assert f"{path}:4: invalid_json_line: " in out
    assert "4 requests, 2 of them faulty" in out
    assert all(word in out for word in ("byte-order mark", "CR LF", "Blank lines: 1", "no newline"))


def test_no_more_than_ten_lines_are_told_for_each_code_and_json_has_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, good("a") + b"nope\n" * 30 + good("a") * 12 + good("b"))
    assert call(["check", str(path)]) == 1
    out = capsys.readouterr().out
    assert [out.count(f": {code}: ") for code in ("invalid_json_line", "duplicate_custom_id")] == [10, 10]
    assert "and 20 more lines with invalid_json_line" in out
    assert "and 2 more lines with duplicate_custom_id" in out
    assert call(["check", "--json", str(path)]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 42


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write(tmp_path, good("a") + b"nope\n"), write(tmp_path, good("b"), "other.jsonl")]
    assert call(["check", "--json", *map(str, paths)]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["file"], first["total"], first["faulty"]) == (str(paths[0]), 2, 1)
    assert [(fault["line"], fault["code"]) for fault in first["faults"]] == [(2, "invalid_json_line")]
    assert (second["faulty"], second["faults"], second["group_count"]) == (0, [], 1)


def test_a_batch_that_would_fail_as_a_whole_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, b"\n")
    write(tmp_path, b'{"metadat": {}}', "batch.options.json")
    assert call(["check", str(path)]) == 1
    assert "The batch would fail: Unknown option 'metadat'" in capsys.readouterr().out


def test_a_request_that_cannot_fit_is_foretold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHD_WINDOW_TOKENS_MAX", "1025")
    assert call(["check", str(write(tmp_path, good("a")))]) == 0
    assert "window_tokens_max is 1,025" in capsys.readouterr().out


def test_a_bound_above_the_window_is_foretold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHD_WINDOW_TOKENS_MAX", "8192")
    copied = good("a").replace(b'"model"', b'"max_tokens": 128000, "model"')
    path = str(write(tmp_path, copied + good("b")))
    assert call(["check", path]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 request may ask for a longer answer than the largest window leaves room for" in said
    assert call(["check", "--json", path]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["lowered_bounds_estimated"] == 1
    assert sorted(group["window_tokens"] for group in told["groups"])[-1] == 8_192
    assert call(["check", str(write(tmp_path, good("b"), "plain.jsonl"))]) == 0
    assert "longer answer" not in capsys.readouterr().out


def test_a_schema_that_is_none_or_lies_elsewhere_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asking(custom_id: str, schema: dict[str, object]) -> bytes:
        line = json.loads(good(custom_id))
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        line["body"]["response_format"] = asked
        return json.dumps(line).encode() + b"\n"

    lines = asking("a", {"type": "object"}) + asking("b", {"type": "strin"})
    lines += asking("c", {"$ref": "http://127.0.0.1:9/schema.json"})
    assert call(["check", "--json", str(write(tmp_path, lines))]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(fault["line"], fault["code"]) for fault in told["faults"]] == [
        (2, "invalid_value"),
        (3, "invalid_value"),
    ]
    assert "http://127.0.0.1:9/schema.json" in told["faults"][1]["message"]


def test_many_groups_are_shown_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for number in range(12):
        body = {"model": f"m{number}", "messages": [{"role": "user", "content": "x"}]}
        lines.append(json.dumps({**GOOD, "custom_id": str(number), "body": body}).encode() + b"\n")
    assert call(["check", str(write(tmp_path, b"".join(lines)))]) == 0
    out = capsys.readouterr().out
    assert "prefix groups: 12" in out
    assert "and 2 more" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_and_any_text_is_told_whatever_the_encoding_of_the_output(
    tmp_path: Path, encoding: str
) -> None:
    name = os.fsdecode(b"a\xff\xf0\x9f\x98\x80.jsonl")
    value = {**GOOD, "custom_id": "\U0001f600", "url": "\U0001f600\x85"}
    path = write(tmp_path, json.dumps(value).encode() + b"\n", name)

    def told(*arguments: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-m", "batchd", "check", *arguments, str(path)],
            capture_output=True,
            timeout=60,
            check=False,
            env={"HOME": str(tmp_path), "PYTHONIOENCODING": encoding},
        ).stdout

    report = json.loads(told("--json"))
    assert Path(report["file"]).name == "a\\xff\U0001f600.jsonl"
    assert report["faults"][0]["custom_id"] == "\U0001f600"
    assert ("\U0001f600" if encoding == "utf-8" else "\\U0001f600") in told().decode()


@pytest.mark.parametrize("name", ["absent.jsonl", "."])
def test_no_batch_file_is_a_usage_error(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["check", str(tmp_path / name)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_strategy_of_the_options_is_the_one_that_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, good("a"))
    write(tmp_path, b'{"strategy": "naive"}', "batch.options.json")
    assert call(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "strategy: naive" in out
    assert "saved here" not in out
    assert call(["check", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == "naive"
    write(tmp_path, b'{"strategy": "conversation"}', "batch.options.json")
    assert call(["check", str(path)]) == 0
    assert "strategy: conversation; prompts grow by what was said before" in capsys.readouterr().out


def test_a_time_is_told_only_where_rates_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BATCHD_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("BATCHD_PROFILES", str(tmp_path / "profiles"))
    path = write(tmp_path, good("a") + good("b"))
    assert call(["check", str(path)]) == 0
    assert "How long it takes is not known: no rates of m" in capsys.readouterr().out
    result = tmp_path / "spool" / "outbox" / "old.batch_1"
    result.mkdir(parents=True)
    rates = {"prefill_tokens_per_s": {"value": 100.0}, "decode_tokens_per_s": {"value": 10.0}}
    metrics = {"batch_id": "batch_1", "provenance": {"models": [{"name": "m", "slots": 1}]}, "rates": rates}
    (result / "metrics.json").write_text(json.dumps(metrics))
    (result.parent / "broken").mkdir()
    (result.parent / "broken" / "metrics.json").write_text("{")
    assert call(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "time, with answers of 20 tokens: " in out
    assert "rates of the earlier batch batch_1" in out
    assert call(["check", "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)["seconds_estimated"]
    assert [one["answer_tokens"] for one in told] == [20, 50, 100]
    assert all(one["low_s"] <= one["expected_s"] <= one["high_s"] for one in told)


def test_rates_are_known_from_what_run_has_left_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BATCHD_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("BATCHD_PROFILES", str(tmp_path / "profiles"))
    monkeypatch.chdir(tmp_path)
    result = tmp_path / "batchd-results" / "old.batch_1"
    result.mkdir(parents=True)
    rates = {"prefill_tokens_per_s": {"value": 100.0}, "decode_tokens_per_s": {"value": 10.0}}
    metrics = {"batch_id": "batch_1", "provenance": {"models": [{"name": "m", "slots": 1}]}, "rates": rates}
    (result / "metrics.json").write_text(json.dumps(metrics))
    assert call(["check", str(write(tmp_path, good("a")))]) == 0
    assert "rates of the earlier batch batch_1" in capsys.readouterr().out


def test_nobody_is_sent_to_a_calibration_that_could_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BATCHD_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr("batchd.cli.check.calibrated", lambda _: {"m"})
    assert call(["check", str(write(tmp_path, good("a")))]) == 0
    out = capsys.readouterr().out
    assert "the calibration of m could not tell how fast it reads" in out
    assert "batchd calibrate" not in out
