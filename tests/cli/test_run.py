"""`batchd run` as a person meets it: processes, standard output, exit codes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batchd.edges.spool import Spool
from tests.batches import request_line, write_batch
from tests.house import LivingDaemon, clean_environment, read_lines
from tests.simulator.child import ChildSimulator

#: Nobody listens there.
NOWHERE = "http://127.0.0.1:9"


def begin(folder: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "batchd", *arguments],
        cwd=folder,
        env=clean_environment(folder, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(folder: Path, *arguments: str, **more: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    with begin(folder, *arguments, **more) as process:
        out, error = process.communicate(timeout=60)
    return process.returncode, out, error


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 60, system="You are terse.")
    with ChildSimulator(delay_s=0.05) as server:
        with begin(tmp_path, "run", str(batch), OLLAMA_HOST=server.address) as process:
            until = time.perf_counter() + 30
            while server.counts()["answers"] < 10 and time.perf_counter() < until:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, ""), error
        done_before = server.counts()["answers"]
        code, out, error = call(tmp_path, "run", str(batch), OLLAMA_HOST=server.address)
        assert code == 0, error
        answers = server.counts()["answers"]
    assert len(read_lines(Path(out.strip()) / "output.jsonl")) == 60
    assert done_before >= 10
    assert answers == 60 + 2, "one canary for each start, and no request twice"


def test_json_gives_one_object_for_each_batch(tmp_path: Path) -> None:
    files = [write_batch(tmp_path / f"{name}.jsonl", 3, system=name) for name in ("a", "b")]
    with ChildSimulator() as server:
        code, out, error = call(
            tmp_path, "run", *map(str, files), "--json", "--out", "results", OLLAMA_HOST=server.address
        )
    assert code == 0, error
    found = [json.loads(line) for line in out.splitlines()]
    assert [Path(item["path"]).name.split(".")[0] for item in found] == ["a", "b"]
    assert {item["status"] for item in found} == {"completed"}
    assert [item["request_counts"] for item in found] == [{"total": 3, "completed": 3, "failed": 0}] * 2
    assert sorted(path.name[0] for path in (tmp_path / "results").iterdir()) == [".", "a", "b"]


def test_a_failed_request_is_exit_1_unless_the_operator_allows_its_share(tmp_path: Path) -> None:
    lines = [request_line(number, system="You are terse.") for number in range(4)]
    lines[1]["url"] = "/v1/embeddings"
    batch = tmp_path / "packages.jsonl"
    batch.write_text("\n".join(map(json.dumps, lines)))
    with ChildSimulator() as server:
        strictly, out, error = call(tmp_path, "run", str(batch), OLLAMA_HOST=server.address)
        leniently, _, _ = call(
            tmp_path, "run", str(batch), OLLAMA_HOST=server.address, BATCHD_FAILED_SHARE_MAX="0.25"
        )
    result = Path(out.strip())
    assert (strictly, leniently) == (1, 0)
    assert "1 of 4 requests have no answer. The first: invalid_url: " in error
    assert f"{result / 'errors.jsonl'}\n" in error
    assert [line["custom_id"] for line in read_lines(result / "output.jsonl")] == [
        "package-0",
        "package-2",
        "package-3",
    ]
    assert [line["custom_id"] for line in read_lines(result / "errors.jsonl")] == ["package-1"]


def test_another_model_or_another_digest_is_another_batch(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 2, system="You are terse.")
    with ChildSimulator() as server:
        _, as_named, _ = call(tmp_path, "run", str(batch), OLLAMA_HOST=server.address)
        named = ("--model", "gemma3:270m")
        _, other, error = call(tmp_path, "run", str(batch), *named, OLLAMA_HOST=server.address)
    assert as_named.strip() != other.strip() != "", error
    body = read_lines(Path(other.strip()) / "output.jsonl")[0]["response"]
    assert '"model": "gemma3:270m"' in json.dumps(body)


def test_a_batch_whose_results_were_taken_away_is_run_again(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 2, system="You are terse.")
    with ChildSimulator() as server:
        for _ in range(3):
            code, out, error = call(tmp_path, "run", str(batch), OLLAMA_HOST=server.address)
            assert code == 0, error
            Path(out.strip()).rename(tmp_path / f"taken-{time.monotonic_ns()}")
        assert server.counts()["requests"] == 3 * 3


def test_a_model_that_is_not_there_is_an_error_line_with_the_command_to_type(tmp_path: Path) -> None:
    batch = tmp_path / "packages.jsonl"
    lines = [request_line(0, model="nope:1b"), request_line(1)]
    batch.write_text("\n".join(map(json.dumps, lines)))
    with ChildSimulator() as server:
        code, out, _ = call(tmp_path, "run", str(batch), OLLAMA_HOST=server.address)
    (refused,) = read_lines(Path(out.strip()) / "errors.jsonl")
    assert code == 1
    assert "ollama pull nope:1b" in json.dumps(refused)
    assert '"code": "model_not_found"' in json.dumps(refused)
    assert [line["custom_id"] for line in read_lines(Path(out.strip()) / "output.jsonl")] == ["package-1"]


def test_a_spool_that_another_holds_is_exit_75(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 1)
    spool = Spool.open(tmp_path / "spool")
    try:
        code, _, error = call(tmp_path, "run", str(batch), "--spool", "spool", OLLAMA_HOST=NOWHERE)
    finally:
        spool.close()
    assert code == 75
    assert "submit" in error


def test_no_server_and_no_program_to_start_one_is_exit_75(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 1)
    code, out, error = call(
        tmp_path, "run", str(batch), OLLAMA_HOST=NOWHERE, BATCHD_OLLAMA__BINARY="/nonexistent/ollama"
    )
    assert (code, out) == (75, "")
    assert "ollama" in error.lower()
    assert "Traceback" not in error


def test_usage_and_configuration_have_their_exit_codes(tmp_path: Path) -> None:
    assert call(tmp_path, "run", "absent.jsonl")[0] == 2
    assert call(tmp_path, "run", "x.jsonl", "--out", "a", "--spool", "b")[0] == 2
    assert call(tmp_path, "run")[0] == 2
    assert call(tmp_path, "run", "x.jsonl", "--engine", "ollama", "--gguf", "b")[0] == 2
    assert call(tmp_path, "run", "x.jsonl", "--engine", "vllm")[0] == 2
    batch = write_batch(tmp_path / "packages.jsonl", 1)
    assert call(tmp_path, "run", str(batch), BATCHD_SLOTS="many")[0] == 78
    absent = ("--engine", "llamacpp")
    models = '{"smollm2:135m": "/nonexistent.gguf"}'
    assert call(tmp_path, "run", str(batch), *absent, BATCHD_LLAMACPP__MODELS=models)[0] == 78
    assert call(tmp_path, "run", str(batch), "--spool", "/proc/batchd")[0] == 78
    assert call(tmp_path, "run", str(batch), "--spool", str(batch))[0] == 78
    assert call(tmp_path, "daemon", "--spool", "/proc/batchd")[0] == 78


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--gguf", "absent.gguf"), "No such file"),
        (("--gguf", "packages.jsonl"), "not a GGUF file"),
        (("--gguf", "."), "Is a directory"),
        (("--model", ""), "is empty"),
        (("--out", "packages.jsonl"), "cannot be made"),
        (("--out", "/proc/batchd"), "cannot be made"),
    ],
)
def test_what_was_typed_wrongly_is_said_with_the_next_step(
    flags: tuple[str, str], said: str, tmp_path: Path
) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 1)
    code, out, error = call(tmp_path, "run", str(batch), *flags, OLLAMA_HOST=NOWHERE)
    assert (code, out) == (2, "")
    sentence, step = error.splitlines()
    assert said in sentence
    assert step.startswith("Give")


@pytest.mark.parametrize(("level", "is_told"), [("info", True), ("", False), ("warning", False)])
def test_the_log_of_a_run_tells_what_was_asked_for(level: str, is_told: bool, tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 1)
    with ChildSimulator() as server:
        code, _, error = call(tmp_path, "run", str(batch), OLLAMA_HOST=server.address, BATCHD_LOG_LEVEL=level)
    assert code == 0
    assert (" accepted: " in error) is is_told


def test_results_that_may_be_meant_are_named_when_the_batch_cannot_be_looked_up(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 1)
    with ChildSimulator() as server:
        _, out, _ = call(tmp_path, "run", str(batch), OLLAMA_HOST=server.address)
    held = Spool.open(tmp_path / "batchd-results" / ".spool", tmp_path / "batchd-results")
    try:
        code, _, error = call(tmp_path, "run", str(batch))
        _, _, with_another_model = call(tmp_path, "run", str(batch), "--model", "other")
        _, _, with_an_alias = call(tmp_path, "run", str(batch), BATCHD_MODEL_ALIASES='{"a": "b"}')
        batch.write_bytes(batch.read_bytes() + b"\n")
        _, _, of_another_file = call(tmp_path, "run", str(batch))
    finally:
        held.close()
    assert code == 75
    assert out.strip() in error
    assert "held by another" in with_another_model
    assert out.strip() not in with_another_model + with_an_alias + of_another_file


def test_files_that_cannot_be_used_end_as_failed_batches(tmp_path: Path) -> None:
    contents = {
        "empty": b"",
        "blank": b"\n\n \n",
        "bad": b"{\n[]\n",
        "strict": json.dumps(request_line(0)).encode() + b"\n{\n",
    }
    options = {"strict": {"strict": True}}
    with (
        ChildSimulator() as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address) as daemon,
    ):
        results = {}
        for name, content in contents.items():
            (tmp_path / f"{name}.jsonl").write_bytes(content)
            batch_id = daemon.submit(tmp_path / f"{name}.jsonl", options.get(name))
            results[name] = daemon.result(batch_id)
        assert server.counts()["requests"] == 0
        kept = sorted(path.name for path in (tmp_path / "spool" / "archive").glob("*/*.jsonl"))
    batches = {name: json.loads((place / "batch.json").read_bytes()) for name, place in results.items()}
    errors = {name: len(read_lines(place / "errors.jsonl")) for name, place in results.items()}
    assert {batch["status"] for batch in batches.values()} == {"failed"}
    assert batches["empty"]["errors"]["data"][0]["code"] == "empty_file"
    assert [entry["line"] for entry in batches["bad"]["errors"]["data"]] == [1, 2]
    assert errors == {"empty": 0, "blank": 0, "bad": 2, "strict": 2}
    assert all(batches[name]["request_counts"]["total"] == count for name, count in errors.items())
    assert kept == sorted(f"{name}.jsonl" for name in contents)


def test_the_strategy_on_the_command_line_goes_before_the_options_and_is_another_batch(
    tmp_path: Path,
) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 4, system="You are terse.")
    (tmp_path / "packages.options.json").write_text('{"strategy": "prefix"}')
    with ChildSimulator() as server:
        runs = [
            call(tmp_path, "run", str(batch), *more, OLLAMA_HOST=server.address)
            for more in ((), ("--strategy", "naive"), ("--strategy", "prefix"))
        ]
    assert [code for code, _, _ in runs] == [0, 0, 0], runs
    results = [Path(out.strip()) for _, out, _ in runs]
    assert results[0] == results[2] != results[1]
    said = [json.loads((result / "metrics.json").read_text())["settings"]["strategy"] for result in results]
    assert said == ["prefix", "naive", "prefix"]


@pytest.mark.parametrize("prepared", ["results", "results/.spool"])
def test_results_are_not_put_where_others_may_write(tmp_path: Path, prepared: str) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 2, system="You are terse.")
    (tmp_path / prepared).mkdir(parents=True)
    (tmp_path / prepared).chmod(0o777)
    with ChildSimulator() as server:
        code, out, error = call(tmp_path, "run", str(batch), "--out", "results", OLLAMA_HOST=server.address)
    assert (code, out) == (78, "")
    assert f"chmod go-w {tmp_path / prepared}" in error
    assert "Traceback" not in error
