"""batchd as a service of a machine, as its operator and its submitters see it: commands, files, the journal.

SUMMARY
    service.drop("alice", "reviews.jsonl", content)     under a hidden name first, then renamed
    service.result("reviews")                           the result directory, once it is published
    service.show("NRestarts"), service.entries("EVENT=ready"), service.asked("reviews")

DIAGNOSTICS
    AssertionError: a command failed, or a wait reached its limit; the daemon's journal is in the message.
"""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.systemd.machine import Machine, wait_until

SPOOL = "/var/spool/batchd"
CONFIG = "etc/batchd/batchd.toml"
DROP_IN = "etc/systemd/system/batchd.service.d"
SIMULATOR_LOG = "var/log/simulator.jsonl"

#: So that a test waits seconds where an operator waits minutes. The unit itself is installed as it is.
IMPATIENT = "[Unit]\nStartLimitBurst=1000\n[Service]\nRestartSec=1\nWatchdogSec=12\n"

#: Ollama's place is taken by the simulator; the unit of batchd wants it by this name.
SIMULATOR = f"""\
[Service]
WorkingDirectory=/srv/batchd
ExecStart=/opt/batchd/.venv/bin/python -m tests.simulator --port 11434 --slots 2 --delay_s 0.1 \\
  --prefill_rate 2000 --decode_rate 400 --log_lines 1 --log /{SIMULATOR_LOG}
Restart=always
"""


def request(name: str, number: int, custom_id: str | None = None) -> dict[str, object]:
    """A chat request whose text is found again in the simulator's log."""
    return {
        "custom_id": f"{name}-{number}" if custom_id is None else custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "smollm2:135m",
            "messages": [
                {"role": "system", "content": "You are terse."},
                {"role": "user", "content": f"{name} {number}"},
            ],
            "max_completion_tokens": 8,
        },
    }


def batch(name: str, count: int) -> bytes:
    """A batch file."""
    return as_jsonl([request(name, number) for number in range(count)])


def as_jsonl(requests: Sequence[object]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in requests)


class Service:
    """One batchd in one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    # The unit.

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.machine.call(f"systemctl show batchd --value -p {name}").strip()

    def pid(self) -> int:
        return int(self.show("MainPID"))

    def configure(self, text: str) -> None:
        path = self.machine.tree / CONFIG
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def drop_in(self, name: str, text: str | None) -> None:
        path = self.machine.tree / DROP_IN / f"{name}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text, encoding="utf-8")
        self.machine.call("systemctl daemon-reload")

    def restart(self) -> None:
        self.machine.call("systemctl reset-failed batchd; systemctl restart batchd", is_well=None)
        assert self.is_active(), self.log()

    def restarts(self) -> int:
        return int(self.show("NRestarts"))

    def is_active(self) -> bool:
        return self.show("ActiveState") == "active"

    # The spool.

    def drop(self, user: str, name: str, content: bytes) -> None:
        """As a careful submitter does it."""
        inbox = f"{SPOOL}/inbox"
        target, hidden = shlex.quote(f"{inbox}/{name}"), shlex.quote(f"{inbox}/.{name}.new")
        self.machine.call(f"umask 027; cat > {hidden} && mv {hidden} {target}", user, given=content)

    def published(self, stem: str) -> list[Path]:
        return list((self.machine.tree / SPOOL[1:] / "outbox").glob(f"{stem}.batch_*"))

    def result(self, stem: str, limit_s: float = 90.0) -> Path:
        self.wait_until(lambda: bool(self.published(stem)), f"the result of {stem}", limit_s)
        return self.published(stem)[0]

    def answered(self, stem: str) -> list[str]:
        """The custom_ids of the output, in its order."""
        lines = (self.result(stem) / "output.jsonl").read_bytes().splitlines()
        return [json.loads(line)["custom_id"] for line in lines]

    def durable(self, stem: str) -> list[str]:
        """The custom_ids of a running batch that the journal has acknowledged."""
        lines = [
            line
            for path in (self.machine.tree / SPOOL[1:] / "partial").glob("*.jsonl")
            for line in path.read_bytes().splitlines()
        ]
        found = [str(json.loads(line)["custom_id"]) for line in lines]
        return [custom_id for custom_id in found if custom_id.startswith(f"{stem}-")]

    def status_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads((self.machine.tree / SPOOL[1:] / "status.json").read_bytes())
        return shown

    def wait_until(self, is_so: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
        try:
            wait_until(is_so, what, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    # The journal.

    def log(self) -> str:
        return self.machine.call("journalctl -u batchd --no-pager -n 60", is_well=None)

    def now(self) -> int:
        """The moment of the journal's last entry."""
        said = self.machine.call("journalctl --sync; journalctl -n 1 --no-pager -q -o json")
        return _moment(json.loads(said))

    def entries(self, *matches: str, after: int = 0) -> list[dict[str, Any]]:
        """Entries of the unit, as `journalctl -o json` gives them."""
        wanted = shlex.join(matches)
        said = self.machine.call(f"journalctl --sync; journalctl -q -u batchd -o json --no-pager {wanted}")
        # Not --after-cursor: with a match it leaves the first entry out.
        return [entry for entry in map(json.loads, said.splitlines()) if _moment(entry) > after]

    def messages(self, *matches: str, after: int = 0) -> str:
        return "\n".join(str(entry["MESSAGE"]) for entry in self.entries(*matches, after=after))

    # The model server.

    def asked(self, name: str) -> Counter[str]:
        """How often each request of this batch reached the model server."""
        path = self.machine.tree / SIMULATOR_LOG
        seen: Counter[str] = Counter()
        for line in path.read_bytes().splitlines() if path.exists() else []:
            body = json.loads(line)["body"]
            text = str((body.get("messages") or [{}])[-1].get("content", ""))
            if text.startswith(f"{name} "):
                seen[text] += 1
        return seen

    def fault(self, **body: object) -> None:
        """Switch a fault of the simulator on."""
        script = (
            "import sys, urllib.request; "
            "urllib.request.urlopen('http://127.0.0.1:11434/simulator/fault', sys.stdin.buffer.read(), 5)"
        )
        self.machine.call(f'python3 -c "{script}"', given=json.dumps(body).encode())


def _moment(entry: dict[str, Any]) -> int:
    return int(entry["__MONOTONIC_TIMESTAMP"])
