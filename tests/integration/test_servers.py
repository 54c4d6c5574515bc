"""A batch on two model servers, as a person meets it: processes, their deaths, and what the results say."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from openai.types.chat import ChatCompletion

from tests.batches import write_batch
from tests.house import LivingDaemon, clean_environment, read_lines
from tests.simulator.child import ChildSimulator, write_binary

#: Where nobody listens.
NOWHERE = "http://127.0.0.1:9"

LINES = 80


def run(folder: Path, batch: Path, **more: str) -> tuple[dict[str, Any], str]:
    """What `batchd run --json` says of it, and the log."""
    done = subprocess.run(
        [sys.executable, "-m", "batchd", "run", str(batch), "--json", "--out", "results"],
        cwd=folder,
        env=clean_environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found, done.stderr


def hosts(*addresses: str) -> dict[str, str]:
    return {"BATCHD_OLLAMA__HOSTS": ",".join(addresses), "BATCHD_PILOT": "0"}


def answered_by(result: Path) -> Counter[str]:
    lines = read_lines(result / "output.jsonl")
    assert len({str(line["custom_id"]) for line in lines}) == len(lines)
    responses = [line["response"] for line in lines]
    for response in responses:
        assert isinstance(response, dict)
        ChatCompletion.model_validate(response["body"])
    return Counter(str(response["server"]) for response in responses if isinstance(response, dict))


def metrics_of(result: Path) -> dict[str, Any]:
    found = json.loads((result / "metrics.json").read_text())
    assert isinstance(found, dict)
    return found


def test_two_servers_share_a_batch_and_the_faster_one_does_more(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES, system="You are terse.")
    with ChildSimulator(delay_s=0.01) as fast, ChildSimulator(delay_s=0.1) as slow:
        found, _ = run(tmp_path, batch, **hosts(fast.address, slow.address), BATCHD_SLOTS="2")
        result = Path(found["path"])
        said = answered_by(result)
        assert set(said) == {fast.address, slow.address}
        assert said[fast.address] > 2 * said[slow.address]
        assert said.total() == LINES
        again, _ = run(tmp_path, batch, **hosts(slow.address, fast.address), BATCHD_SLOTS="2")
        assert again["path"] == found["path"], "the order of the servers makes no other batch"
    metrics = metrics_of(result)
    named = {server["name"]: server["engine"]["mode"] for server in metrics["provenance"]["servers"]}
    assert named == {fast.address: "attach", slow.address: "attach"}
    assert {model["server"] for model in metrics["provenance"]["models"]} == set(named)
    lanes = Counter[str]()
    for lane in metrics["lanes"]["lanes"]:
        lanes[lane["server"]] += lane["answers"]
    assert lanes == said
    loads = {event["server"] for event in metrics["decisions"] if event["name"] == "model_loaded"}
    assert loads == set(named)


def test_a_server_that_is_killed_in_the_middle_costs_nobody_an_answer(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", LINES, system="You are terse.")
    spool = tmp_path / "spool"
    with ChildSimulator(delay_s=0.03) as one:
        other = ChildSimulator(delay_s=0.03)
        other.__enter__()
        try:
            both = hosts(one.address, other.address)
            with LivingDaemon(spool, **both, BATCHD_SLOTS="2") as daemon:
                batch_id = daemon.submit(batch)
                daemon.wait_until(lambda: other.counts()["answers"] >= 10, "some answers")
                other.__exit__(None, None, None)
                daemon.wait_until(lambda: "server" in _shown(spool, other.address), "the loss in the status")
                result = daemon.result(batch_id)
                log = daemon.log()
        finally:
            if other._child is not None and other._child.poll() is None:
                other.__exit__(None, None, None)
    said = answered_by(result)
    assert said.total() == LINES
    assert said[one.address] > said[other.address] >= 5  # the canary is none, and some were on their way
    assert not (result / "errors.jsonl").exists()
    assert f"{other.address}: model not ready: The model server cannot be reached" in log
    assert f"{one.address}: model not ready" not in log


def _shown(spool: Path, address: str) -> str:
    """ "server" where the status shows this one in trouble."""
    try:
        status = json.loads((spool / "status.json").read_text())
    except (OSError, ValueError):
        return ""
    away = [server for server in status["servers"] if server["state"] != "resident"]
    return "server" if any(server["address"] == address and server["detail"] for server in away) else ""


def test_a_server_with_another_model_of_that_name_takes_no_part(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 20, system="You are terse.")
    with (
        ChildSimulator(delay_s=0.01, other_digests=1) as odd,
        ChildSimulator(delay_s=0.01) as one,
        ChildSimulator(delay_s=0.01) as two,
    ):
        found, log = run(tmp_path, batch, **hosts(odd.address, one.address, two.address))
        assert odd.counts()["loads"] == 0, "it was not even loaded there"
        again, _ = run(tmp_path, batch, **hosts(two.address, odd.address, one.address))
    assert again["path"] == found["path"]
    assert set(answered_by(Path(found["path"]))) == {one.address, two.address}
    assert f"'smollm2:135m' is another model on {odd.address}" in log


def test_a_server_that_is_not_there_at_the_start_is_no_hindrance(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 20, system="You are terse.")
    with ChildSimulator(delay_s=0.01) as server:
        began = time.perf_counter()
        found, _ = run(tmp_path, batch, **hosts(NOWHERE, server.address))
        assert time.perf_counter() - began < 30
    assert answered_by(Path(found["path"])) == {server.address: 20}


def test_one_own_server_for_each_card(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 40, system="You are terse.")
    seen = tmp_path / "seen"
    seen.mkdir()
    binary = write_binary(tmp_path, delay_s=0.05)
    binary.write_text(
        binary.read_text().replace(
            "#!/bin/sh\n",
            f'#!/bin/sh\necho "$CUDA_DEVICE_ORDER $ROCR_VISIBLE_DEVICES" > {seen}/"$CUDA_VISIBLE_DEVICES"\n',
        )
    )
    found, _ = run(
        tmp_path, batch, BATCHD_OLLAMA__GPUS="0,1", BATCHD_OLLAMA__BINARY=str(binary), BATCHD_SLOTS="2"
    )
    result = Path(found["path"])
    said = answered_by(result)
    assert (set(said), said.total()) == ({"gpu:0", "gpu:1"}, 40)
    assert min(said.values()) >= 8
    assert {path.name: path.read_text() for path in seen.iterdir()} == {
        "0": "PCI_BUS_ID 0\n",
        "1": "PCI_BUS_ID 1\n",
    }
    assert {server["engine"]["mode"] for server in metrics_of(result)["provenance"]["servers"]} == {"own"}
