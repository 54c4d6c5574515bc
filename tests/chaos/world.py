"""One spool, one simulated model server, and the books that are kept about both.

SUMMARY
    with World(directory, nursery) as world:
        world.start(); world.drop(12); world.kill(); world.start(); world.finish(); world.check()

    The books: what was handed in, what the journals held at each death, what the server was asked. From them
    `check` says what was lost, doubled, or computed again though it was durable.

DIAGNOSTICS
    AssertionError: the daemon ended by itself, a wait reached its limit, or `check` found something. What it
    found is in the books before that.
"""

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType

from batchd.edges.journal import Journal
from batchd.edges.spool import submit_file
from batchd.errors import JournalError
from tests.batches import request_line, user_text
from tests.chaos.checker import outcomes_of, problems_of, problems_of_result
from tests.chaos.disks import PowerDisk
from tests.chaos.nursery import ROOT, Born, Nursery
from tests.chaos.tally import Books
from tests.house import clean_environment
from tests.simulator.answers import tag_of
from tests.simulator.child import ChildSimulator

#: Generous: a wait that ends here is a hang.
WAIT_S = 60.0


class World:
    """Starts with the block, ends with it."""

    def __init__(
        self,
        directory: Path,
        nursery: Nursery,
        *,
        slots: int = 4,
        delay_s: float = 0.0,
        spool: Path | None = None,
        obeys: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
        answer_tokens: int = 12,
    ) -> None:
        self.directory = directory
        self.spool = spool or directory / "spool"
        self.order_path = directory / "order"
        self.log_path = directory / "daemon.log"
        self.books = Books()
        self.batches: dict[str, bytes] = {}  # what was handed in
        self.server = ChildSimulator(
            directory / "seen.jsonl",
            slots=slots,
            delay_s=delay_s,
            jitter_s=delay_s / 2,
            hung_unload_s=0.2,
            answer_tokens=answer_tokens,
        )
        self._slots = slots
        self._settings = settings
        self._answer_tokens = answer_tokens
        self._obeys = obeys  # whether its daemons look for orders, which takes system calls of its own
        self._nursery = nursery
        self._daemon: Born | None = None
        self._numbers = 0
        self._tags: dict[str, str] = {}
        self._damaged: set[str] = set()  # batches whose journals we broke
        self._deaths: list[tuple[float, set[str]]] = []  # (moment, tags that were durable by then)

    def __enter__(self) -> "World":
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.kill()
            self._daemon.wait(WAIT_S)
        self.server.__exit__(kind, error, trace)

    @property
    def daemon(self) -> Born:
        assert self._daemon is not None
        return self._daemon

    def start(self, order: str = "", lies: Sequence[str] = ()) -> None:
        """Start the daemon (again); with `NAME COUNT SIGNAL` it sends itself that signal there."""
        self.order_path.unlink(missing_ok=True)
        if order:
            self.order(order)
        (self.spool / "status.json").unlink(missing_ok=True)
        self._daemon = self._nursery.bear(
            self.environment(), self.log_path, self.order_path if self._obeys else None, lies=lies
        )

    def environment(self) -> dict[str, str]:
        return clean_environment(
            self.directory,
            BATCHD_SPOOL=str(self.spool),
            BATCHD_SETTLE_S="0",
            BATCHD_OLLAMA__MODE="attach",
            BATCHD_OLLAMA__HOST=self.server.address,
            BATCHD_SLOTS=str(self._slots),
            PYTHONPATH=str(ROOT),
            TMPDIR=str(self.directory),
            **self._settings,
        )

    def order(self, order: str) -> None:
        """From now on, the daemon sends itself a signal when it comes there."""
        hidden = self.order_path.with_suffix(".new")
        hidden.write_text(order)
        hidden.replace(self.order_path)  # whole or not at all

    def reached(self) -> set[str]:
        """The failpoints that any daemon of this world has passed."""
        path = Path(f"{self.order_path}.reached")
        return set(path.read_text().split()) if path.exists() else set()

    def wait_ready(self) -> None:
        self.wait_until(lambda: self.status().get("state") == "ready", "a ready daemon")

    def status(self) -> dict[str, object]:
        with contextlib.suppress(FileNotFoundError, ValueError):
            status: dict[str, object] = json.loads((self.spool / "status.json").read_bytes())
            return status
        return {}

    def drop(self, lines: int, bad_lines: int = 1, options: dict[str, object] | None = None) -> str:
        """Hand in a batch; its id. No two requests of a world are equal."""
        batch_id = f"batch_{os.urandom(16).hex()}"
        rows = []
        for number in range(self._numbers, self._numbers + lines):
            row = request_line(number, max_tokens=self._answer_tokens + 4, system="Say one word.")
            if number - self._numbers < bad_lines:
                row["body"] = {**row["body"], "n": 2}
            else:
                self._tags[str(row["custom_id"])] = tag_of(user_text(number))
            rows.append(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._numbers += lines
        source = self.directory / "handed.jsonl"
        source.write_bytes(b"".join(rows))
        self.wait_until(lambda: (self.spool / "inbox").is_dir(), "the spool")
        self.batches[batch_id] = b"".join(rows)
        self.books.requests += lines
        submit_file(self.spool, source, f"{batch_id[-6:]}.jsonl", {**(options or {}), "batch_id": batch_id})
        return batch_id

    def kill(self) -> None:
        """SIGKILL, and a look at what was durable at that moment."""
        self.daemon.kill(signal.SIGKILL)
        self.died()

    def cut(self, disk: PowerDisk) -> None:
        """The daemon is stopped: the power fails. What it had acknowledged must be on the disk."""
        self.wait_until(self.daemon.is_stopped, "a stopped daemon")
        told = self.told()
        disk.freeze()
        self.daemon.kill(signal.SIGKILL)
        self.daemon.wait(WAIT_S)
        disk.thaw()
        durable = self.durable()
        self.books.blows += 1
        self._deaths.append((time.time_ns() / 1e9, durable))
        self.books.lost += len(told - durable)
        problems = self._problems()
        assert not problems, problems
        assert told <= durable, f"{len(told - durable)} acknowledged answers were lost"

    def told(self) -> set[str]:
        """The tags of the answers that the daemon has acknowledged, of batches that are not published."""
        waiting = (name for name in self.batches if not self.is_published(name))
        paths = [self.spool / "partial" / f"{batch_id}.jsonl" for batch_id in waiting]
        lines = b"".join(path.read_bytes() for path in paths if path.exists()).splitlines(keepends=True)
        answers = (json.loads(line) for line in lines if line.endswith(b"\n"))
        return {self._tags[answer["custom_id"]] for answer in answers if answer["custom_id"] in self._tags}

    def damage_journal(self, batch_id: str) -> None:
        """Both meta pages become noise: LMDB cannot even open it."""
        self._damaged.add(batch_id)
        with self.data_of(batch_id).open("r+b") as file:
            file.write(os.urandom(8192))

    def data_of(self, batch_id: str) -> Path:
        """The file of a batch's journal."""
        return self.spool / "processing" / batch_id / "journal" / "data.mdb"

    def collect(self, batch_id: str) -> None:
        """Take a result away, as `rsync --remove-source-files` does."""
        for result in (self.spool / "outbox").glob(f"*.{batch_id}"):
            shutil.copytree(result, self.directory / "collected" / result.name)
            shutil.rmtree(result)

    def died(self) -> None:
        """The daemon is dead, or about to be: book it."""
        assert self.daemon.wait(WAIT_S) == -signal.SIGKILL, self.log()
        self.books.blows += 1
        self._deaths.append((time.time_ns() / 1e9, self.durable()))
        problems = self._problems()
        assert not problems, problems

    def durable(self) -> set[str]:
        """The tags of the answers that copies of the journals hold."""
        tags: set[str] = set()
        for batch_id in self.batches:
            source = self.spool / "processing" / batch_id / "journal"
            copy = self.directory / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            if not source.is_dir():
                continue
            shutil.copytree(source, copy)
            with contextlib.suppress(JournalError):  # killed while it was being made
                journal = Journal.open(str(copy))
                for _, is_error, line in journal.results():
                    if not is_error:
                        tags.add(self._tags[json.loads(line)["custom_id"]])
                journal.close()
        return tags

    def is_published(self, batch_id: str) -> bool:
        return bool(self.results(batch_id))

    def is_finished(self, within_s: float) -> bool:
        """As `finish`, with an answer where that one raises."""
        until = time.perf_counter() + within_s
        while time.perf_counter() < until:
            if all(map(self.is_published, self.batches)) and self.is_tidy():
                return True
            time.sleep(0.01)
        return False

    def is_tidy(self) -> bool:
        """Nothing is left of any batch."""
        processing = self.spool / "processing"
        return processing.is_dir() and not any(processing.iterdir())

    def results(self, batch_id: str) -> list[Path]:
        """Where the result is: in the outbox, or with whoever collected it; both, after a power cut."""
        places = (self.spool / "outbox", self.directory / "collected")
        return [result for place in places for result in place.glob(f"*.{batch_id}")]

    def finish(self, wait_s: float = WAIT_S) -> None:
        """Wait until everything that was handed in is published and put away."""
        self.wait_until(lambda: (self.spool / "inbox").is_dir(), "the spool")
        for batch_id in self.batches:
            self.wait_until(partial(self.is_published, batch_id), f"the result of {batch_id}", wait_s)
        self.wait_until(self.is_tidy, "an empty processing/", wait_s)

    def check(self, may_repeat: int = 0) -> None:
        """Everything that was handed in has exactly one outcome, and nothing durable was computed again.

        `may_repeat`: so many answers were destroyed by us.
        """
        problems = self._problems()
        if (collected := self.directory / "collected").is_dir():
            problems += problems_of(self.spool, collected)
        for batch_id, content in self.batches.items():
            for result in self.results(batch_id):
                lost, doubled = outcomes_of(result, content)
                self.books.lost += len(lost)
                self.books.doubled += len(doubled)
                problems += [f"{batch_id}: lost {lost}, doubled {doubled}"] if lost or doubled else []
                problems += problems_of_result(result, content, self.spool / "archive")
                problems += self._strange_answers(result)
            if len({(result / "output.jsonl").read_bytes() for result in self.results(batch_id)}) > 1:
                self.books.doubled += 1
                problems.append(f"{batch_id} was published twice with different bytes")
        again = [
            entry["tag"]
            for moment, tags in self._deaths
            for entry in self.server.seen()
            if entry["tag"] in tags and entry["at"] > moment
        ]
        self.books.recomputed += len(again)
        assert not problems, problems
        assert len(again) <= may_repeat, f"computed again though durable: {again}"

    def _problems(self) -> list[str]:
        ours = [f"processing/{batch_id}/journal: The journal is damaged" for batch_id in self._damaged]
        return [problem for problem in problems_of(self.spool) if not any(own in problem for own in ours)]

    def _strange_answers(self, result: Path) -> list[str]:
        lines = (result / "output.jsonl").read_bytes().splitlines()
        ids = [json.loads(line)["custom_id"] for line in lines]
        return [
            f"{custom_id} has the answer of another"
            for custom_id, line in zip(ids, lines, strict=True)
            if self._tags.get(custom_id, "nobody's").encode() not in line
        ]

    def wait_until(self, is_so: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
        """Poll; the daemon must live meanwhile."""
        until = time.perf_counter() + wait_s
        while not is_so():
            assert self.daemon.poll() is None, f"the daemon ended with {self.daemon.code}\n{self.log()}"
            assert time.perf_counter() < until, f"no sign of {what} after {wait_s} s\n{self.hang()}"
            time.sleep(0.01)

    def hang(self) -> str:
        """The log, with where each thread and each task of the daemon is."""
        self.daemon.kill(signal.SIGUSR2)
        time.sleep(0.2)
        return self.log()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-20_000:]
