"""The README and the pages: every command in them is run by a test, or listed here with a reason."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

import orjson
import pytest

from batchd.core.lifecycle import State
from batchd.core.parameters import TABLE, Treatment
from tests.batches import write_batch
from tests.house import BESIDE_OTHERS, LivingDaemon, clean_environment, read_lines
from tests.simulator.child import ChildSimulator
from tests.systemd.page import blocks, unmarked

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SET_UP_AND_DEMO = "python3 -m venv .venv && .venv/bin/pip install -q '.[embedded]' && .venv/bin/batchd demo"
SET_UP_AND_TEST = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[embedded,dev]' && .venv/bin/pytest"

#: Commands that no test runs, and why.
NOT_RUN = {
    SET_UP_AND_TEST: "this very test is run by it",
    "batchd bench --model smollm2:135m": "takes minutes; tests/cli/test_bench.py runs it with less work",
    "batchd bench --overhead": "takes minutes; tests/tools/test_overhead.py runs it with less work",
    **dict.fromkeys(chain(*blocks().values()), "run by tests/systemd, in a Debian that it boots"),
}

BATCHD = (sys.executable, "-m", "batchd")


def commands() -> list[str]:
    """Every line of every block that has no language."""
    found: list[str] = []
    for page in PAGES:
        for block in unmarked(page.read_text(encoding="utf-8")):
            lines = block.splitlines()
            is_drawing = any(line.startswith((" ", "spool/", "S1", "     ")) for line in lines)
            found += [] if is_drawing else lines
    return found


def call(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A `batchd ...` command as it is printed, in this folder."""
    verb, *arguments = shlex.split(command)
    assert verb == "batchd"
    return subprocess.run(
        [*BATCHD, *arguments],
        cwd=folder,
        env=clean_environment(folder, **environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


RUN_HERE = {
    "check": "batchd check requests.jsonl",
    "run": "batchd run requests.jsonl --model smollm2:135m",
    "gguf": "batchd run requests.jsonl --gguf model.gguf",
    "daemon": "batchd daemon --spool ./spool",
    "submit": "batchd submit requests.jsonl --spool ./spool --wait",
    "status": "batchd status --spool ./spool",
    "verify": "batchd verify --spool ./spool",
    "config": "batchd config",
    "doctor": "batchd doctor",
    "calibrate": "batchd calibrate smollm2:135m",
    "demo": SET_UP_AND_DEMO,
}


def test_every_command_is_run_or_stands_in_the_list_with_a_reason() -> None:
    assert sorted(set(commands())) == sorted({*RUN_HERE.values(), *NOT_RUN})


def test_check_and_run_with_an_ollama(tmp_path: Path) -> None:
    write_batch(tmp_path / "requests.jsonl", 5, system="You are terse.")
    checked = call(RUN_HERE["check"], tmp_path)
    assert checked.returncode == 0, checked.stderr
    with ChildSimulator() as server:
        done = call(RUN_HERE["run"], tmp_path, OLLAMA_HOST=server.address)
        again = call(RUN_HERE["run"], tmp_path, OLLAMA_HOST=server.address)
        requests = server.counts()["requests"]
    assert done.returncode == 0, done.stderr
    result = Path(done.stdout.strip())
    assert result.parent == tmp_path / "batchd-results"
    assert len(read_lines(result / "output.jsonl")) == 5
    assert again.stdout == done.stdout
    assert requests == 6, "five requests and a canary: the second call only looked the batch up"


def test_the_daemon_takes_a_submitted_file_tells_its_status_and_leaves_a_sound_spool(tmp_path: Path) -> None:
    write_batch(tmp_path / "requests.jsonl", 5, system="You are terse.")
    with (
        ChildSimulator() as server,
        LivingDaemon(tmp_path / "spool", BATCHD_OLLAMA__HOST=server.address) as daemon,
    ):
        daemon.wait_until(lambda: (tmp_path / "spool" / "status.json").exists(), "the status")
        submitted = call(RUN_HERE["submit"], tmp_path)
        told = call(RUN_HERE["status"], tmp_path)
        verified = call(RUN_HERE["verify"], tmp_path)
    assert submitted.returncode == 0, submitted.stderr
    batch_id, result = submitted.stdout.split()
    assert result.endswith(batch_id)
    assert told.returncode == 0, told.stderr
    assert "smollm2:135m" in told.stdout
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert shlex.split(RUN_HERE["daemon"])[1:] == ["daemon", "--spool", "./spool"]


def test_the_doctor_looks_at_a_machine_with_a_server(tmp_path: Path) -> None:
    with ChildSimulator(decode_rate=200.0) as server:
        done = call(RUN_HERE["doctor"], tmp_path, OLLAMA_HOST=server.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ran at one time" in done.stdout


def test_a_calibration_leaves_a_profile_that_the_next_run_uses(tmp_path: Path) -> None:
    write_batch(tmp_path / "requests.jsonl", 5, system="You are terse.")
    with ChildSimulator(slots=2, decode_rate=200.0) as server:
        command = f"{RUN_HERE['calibrate']} --minutes 0.05 --json"
        done = call(command, tmp_path, OLLAMA_HOST=server.address)
        assert done.returncode == 0, done.stderr
        run = call(RUN_HERE["run"], tmp_path, OLLAMA_HOST=server.address)
    found = orjson.loads(done.stdout)
    assert found["profile"]["slots"] == 2
    assert Path(found["picture"]).read_text().startswith("<svg")
    assert run.returncode == 0, run.stderr
    metrics = orjson.loads((Path(run.stdout.strip()) / "metrics.json").read_bytes())
    [model] = metrics["provenance"]["models"]
    assert model["slots"] == 2, "attached, and nobody said how many slots there are"


def test_config_says_where_each_value_came_from(tmp_path: Path) -> None:
    done = call(RUN_HERE["config"], tmp_path, BATCHD_SLOTS="7")
    assert done.returncode == 0, done.stderr
    assert re.search(r"slots\s+7\s+environment", done.stdout)


@pytest.mark.embedded
@pytest.mark.timeout(300)
def test_run_from_a_model_file(tmp_path: Path, small_model: Path) -> None:
    write_batch(tmp_path / "requests.jsonl", 3, system="You are terse.")
    (tmp_path / "model.gguf").symlink_to(small_model)
    done = call(RUN_HERE["gguf"], tmp_path, BATCHD_SLOTS="2")
    assert done.returncode == 0, done.stderr
    assert len(read_lines(Path(done.stdout.strip()) / "output.jsonl")) == 3


@pytest.mark.embedded
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_command_of_the_readme_ends_with_real_answers(tmp_path: Path, small_model: Path) -> None:
    clone = tmp_path / "batchd"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clone / name)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "VIRTUAL_ENV" and not name.startswith("BATCHD_")
    } | BESIDE_OTHERS
    done = subprocess.run(
        RUN_HERE["demo"],
        shell=True,
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = (clone / "batchd-demo" / "spool" / "outbox").iterdir()
    lines = read_lines(result / "output.jsonl")
    assert len(lines) == len((ROOT / "spool.example/inbox/packages.jsonl").read_bytes().splitlines())
    assert str(result.relative_to(clone)) in done.stdout


def test_the_page_on_the_format_knows_every_parameter() -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (fields|bounds|translated|accepted|refused)[^|]*\| (.*) \|$", page, re.M))
    words = {
        Treatment.FIELD: "fields",
        Treatment.BOUND: "bounds",
        Treatment.TRANSLATED: "translated",
        Treatment.IGNORED: "accepted",
        Treatment.UNSUPPORTED: "refused",
    }
    for treatment, word in words.items():
        named = set(re.findall(r"`(\w+)`", rows[word]))
        assert named == {entry.name for entry in TABLE if entry.treatment is treatment}


def test_the_page_on_the_design_has_every_state() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^(S\d\w?) ", page, re.M))
    assert drawn == {"S1", "S7", *(state.value for state in State)}


def test_the_drawing_of_the_house_has_every_room() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for floor in ("daemon", "edges"):
        for path in (ROOT / "batchd" / floor).iterdir():
            if not path.stem.startswith("_"):
                assert re.search(rf"\b{path.stem}\b", page), f"{floor}/{path.stem} is not in the drawing"


def test_the_lines_of_python_make_a_good_batch_of_a_table(tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    table = 'name,letter\r\nZoë,"Dear all,\r\nI know ""Linux""."\r\nBob,\r\n'
    (tmp_path / "candidates.csv").write_text(table, encoding="utf-8-sig", newline="")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=60)
    checked = call("batchd check requests.jsonl --json", tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert orjson.loads(checked.stdout)["total"] == 2
    line = orjson.loads((tmp_path / "requests.jsonl").read_bytes().splitlines()[0])
    first = line["body"]["messages"][0]["content"]
    assert orjson.loads(first.split("\n", 1)[1]) == {"name": "Zoë", "letter": 'Dear all,\r\nI know "Linux".'}
