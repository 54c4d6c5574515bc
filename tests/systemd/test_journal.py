"""What stands in the journal: fields to search by, and nothing that a submitter wrote there.

DIAGNOSTICS
    None: tests.
"""

import json
from pathlib import Path

import pytest

from batchd.core.text import printable
from tests.systemd.page import blocks
from tests.systemd.service import Service, as_jsonl, batch, request

pytestmark = [pytest.mark.systemd, pytest.mark.timeout(600)]

#: Newlines, a priority, a field, a terminal's title and colour, a reversed name, a line separator, C1.
NASTY = "x\n<0>forged\nPRIORITY=0\n\x1b]0;owned\x07\x1b[31m\u202egnp.exe\u2028\x9b31m"
UNFIT = [character for character in NASTY if printable(character) != character and character != "\n"]


def test_the_story_of_a_batch_is_found_by_its_id(service: Service) -> None:
    before = service.now()
    service.drop("alice", "story.jsonl", batch("story", 5))
    batch_id = service.result("story").name.partition(".")[2]
    service.wait_until(lambda: bool(service.entries("EVENT=published", after=before)), "the last entry")
    found = service.entries(f"BATCH_ID={batch_id}")
    assert [entry["EVENT"] for entry in found] == ["claimed", "accepted", "flawed_answers", "published"]
    assert {entry["_TRANSPORT"] for entry in found} == {"journal"}, "the native protocol, not a stream"
    assert {entry["_SYSTEMD_UNIT"] for entry in found} == {"batchd.service"}
    (command,) = blocks()["search"]
    typed = command.replace("=ID", f"={batch_id}")
    assert len(service.machine.call(f"{typed} -q --no-pager").splitlines()) == len(found)
    of_us = [entry for entry in service.entries(after=before) if entry.get("SYSLOG_IDENTIFIER") == "batchd"]
    assert all("EVENT" in entry for entry in of_us if entry["_TRANSPORT"] == "journal")


def test_a_custom_id_forges_nothing_anywhere(service: Service) -> None:
    service.configure("slots = 1\n")
    service.restart()
    before = service.now()
    service.fault(kind="poison", text="nasty 7", strikes="drop")
    service.machine.call("mkfifo $'/var/spool/batchd/inbox/y\\n<0>forged\\e[31m.jsonl'", "alice")
    lines = [request("nasty", n, NASTY if n == 7 else None) for n in range(40)]
    service.drop("alice", "nasty.jsonl", as_jsonl(lines))
    shown, status = "", ""

    def is_told() -> bool:
        nonlocal shown, status
        shown = service.machine.call("batchd status")
        status = service.machine.call("systemctl status batchd --no-pager -l -n 40", is_well=None)
        return "nasty" in shown and "request" in status

    service.wait_until(is_told, "the batch in the status")
    result = service.result("nasty", 180)
    service.machine.call("rm -f $'/var/spool/batchd/inbox/y\\n<0>forged\\e[31m.jsonl'")

    (failed,) = [json.loads(line) for line in (result / "errors.jsonl").read_bytes().splitlines()]
    assert failed["custom_id"] == NASTY, "the results have it verbatim"
    tries = service.entries(f"CUSTOM_ID={printable(NASTY)}", after=before)
    assert tries
    assert {entry["EVENT"] for entry in tries} == {"attempt_failed"}
    assert {entry["PRIORITY"] for entry in tries} == {"4"}
    everything = service.entries(after=before)
    assert all(entry["PRIORITY"] != "0" for entry in everything)
    assert not [entry for entry in everything if str(entry["MESSAGE"]).startswith(("forged", "<0>"))]
    journal = service.machine.call("journalctl -u batchd --no-pager -o cat")
    for said in (shown, status, service.show("StatusText"), journal):
        assert not [
            line for line in said.splitlines() if line.strip().startswith(("<0>", "forged", "PRIORITY"))
        ]
        assert not [character for character in UNFIT if character in said]
    assert "<0>forged" in shown, "the thing in the inbox is listed, in one line"


def sources(result: Path) -> set[str]:
    """Who told how much of each prompt had been read before."""
    lines = (result / "output.jsonl").read_bytes().splitlines()
    usages = [json.loads(line)["response"]["body"]["usage"] for line in lines]
    return {usage["prompt_tokens_details"]["cached_tokens_source"] for usage in usages}


def test_the_log_of_ollama_tells_what_its_answers_do_not_to_whom_may_read_it(service: Service) -> None:
    service.drop("alice", "unread.jsonl", batch("unread", 5))
    assert sources(service.result("unread")) == {"unknown"}
    for command in blocks()["counts"]:
        service.machine.call(command)
    try:
        service.drop("alice", "read.jsonl", batch("read", 5))
        result = service.result("read")
        assert sources(result) == {"log"}
        assert json.loads((result / "metrics.json").read_bytes())["tokens"]["evaluated"]["source"] == "engine"
    finally:
        service.machine.call("gpasswd --delete batchd systemd-journal")
        service.restart()


def test_answers_are_held_against_their_schema_inside_the_unit(service: Service) -> None:
    """The process that does it lives with the unit's limits and filters."""
    restarts = service.restarts()
    schema = {"type": "object", "properties": {"year": {"type": "string", "pattern": "^[0-9]{4}$"}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {**schema, "required": ["year"]}}}
    lines = [request("schemas", number) for number in range(4)]
    for line in lines:
        body = line["body"]
        assert isinstance(body, dict)
        body["response_format"] = form
    service.drop("alice", "schemas.jsonl", as_jsonl(lines))
    result = service.result("schemas")
    counts = json.loads((result / "batch.json").read_bytes())["request_counts"]
    rejected = (result / "errors.jsonl").read_bytes() if counts["failed"] else b""
    assert counts["total"] == counts["completed"] + counts["failed"] == 4
    assert {json.loads(line)["error"]["code"] for line in rejected.splitlines()} <= {
        "invalid_answer",
        "answer_cut",
    }
    assert service.restarts() == restarts
