"""Teeth: the product is broken in one place at a time, and some test must go red for each.

SUMMARY
    python -m tests.chaos.mutants [WORD ...]     all of them, or those whose name has one of these words

    A mutant deletes a sync, a rename, an order or a check, as a replacement of text that must match exactly
    once, in a copy of the tree. The tests that should catch it run there. Prints a table; exit 1 when one
    survives, or no longer fits the code. First the same tests run on the unchanged copy: they must be green.

    A second sync right after another is no mutant: on ext4 the first one makes both durable.

DIAGNOSTICS
    Exit 1, with the table.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 240.0

#: pytest's own: 0 all green, 1 some red. Anything else (nothing collected, wrong usage) proves nothing.
GREEN, RED = 0, 1

POWER = (
    "tests/chaos/test_power.py::test_what_was_synced_at_a_moment_is_there_after_a_power_cut_at_that_moment"
)
FAILPOINTS = "tests/chaos/test_failpoints.py"
JOURNAL = "tests/edges/test_journal.py"
JOURNAL_CONTRACT = "tests/contract/test_journal_contract.py"
SPOOL_CONTRACT = "tests/contract/test_spool_contract.py"

OUTBOX = "batchd/edges/spool/outbox.py"
PROCESSING = "batchd/edges/spool/processing.py"
CLAIM = "batchd/edges/spool/claim.py"
ENVIRONMENT = "batchd/edges/journal/environment.py"
ROWS = "batchd/edges/journal/rows.py"
INTAKE = "batchd/daemon/intake.py"
ATTACKS = "tests/edges/test_attacks.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is broken, where, how, and the tests that must see it."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "no sync of the new batch directory",
        CLAIM,
        "            os.fsync(place)\n            os.fsync(self.layout.processing)\n",
        "",
        (POWER,),
    ),
    Mutant("no sync of orig/ after the claim", CLAIM, "            os.fsync(orig)\n", "", (POWER,)),
    Mutant(
        "no sync of our copy", PROCESSING, "    os.fsync(target)\n    failpoints", "    failpoints", (POWER,)
    ),
    Mutant(
        "no sync of the journal's directory",
        ENVIRONMENT,
        "            _sync_directory(directory)\n",
        "            pass\n",
        (JOURNAL,),
    ),
    Mutant(
        "no sync of commits",
        ENVIRONMENT,
        "sync=True,\n                metasync",
        "sync=False,\n                metasync",
        (POWER,),
    ),
    Mutant(
        "no sync of the journal's meta page", ENVIRONMENT, "metasync=True", "metasync=False", (POWER, JOURNAL)
    ),
    Mutant("no sync of a result file", OUTBOX, "                    os.fsync(file.fileno())\n", "", (POWER,)),
    Mutant("no sync of the outbox", OUTBOX, "            os.fsync(self.layout.outbox)\n", "", (POWER,)),
    Mutant("no sync of the archive", OUTBOX, "            os.fsync(self.layout.archive)\n", "", (POWER,)),
    Mutant(
        "no sync after the rename to trash",
        PROCESSING,
        "            os.fsync(self.layout.processing)\n",
        "",
        (POWER,),
    ),
    Mutant(
        "acknowledged before the commit",
        "batchd/edges/journal/writer.py",
        "                self._commit(group)\n                self._tell(group, None)\n",
        "                self._tell(group, None)\n                self._commit(group)\n",
        ("tests/edges/test_journal_writer.py",),
    ),
    Mutant(
        "a later result replaces the first",
        ROWS,
        "pack_result(index, line, outcome.is_error), overwrite=False)",
        "pack_result(index, line, outcome.is_error))",
        (JOURNAL_CONTRACT,),
    ),
    Mutant(
        "counters apart from their rows", ENVIRONMENT, "            rows.seal()\n", "", (JOURNAL_CONTRACT,)
    ),
    Mutant(
        "no CRC of results",
        "batchd/core/packing.py",
        "if _result_crc(index, flags, line) != crc:",
        "if False:",
        (JOURNAL,),
    ),
    Mutant(
        "no check at open", ENVIRONMENT, "            environment.check()\n", "            pass\n", (JOURNAL,)
    ),
    Mutant(
        "a newer journal is read",
        ENVIRONMENT,
        "if schema == str(SCHEMA_VERSION).encode():",
        "if schema:",
        (JOURNAL,),
    ),
    Mutant(
        "a torn journal is read",
        ENVIRONMENT,
        "        if there < pages:\n",
        "        if False:\n",
        ("tests/edges/test_journal_damage.py",),
    ),
    Mutant(
        "publishing overwrites",
        "batchd/edges/spool/disk.py",
        "_RENAME_NOREPLACE = 1",
        "_RENAME_NOREPLACE = 0",
        (SPOOL_CONTRACT, "tests/edges/test_spool.py"),
    ),
    Mutant(
        "what is published is published again",
        "batchd/core/lifecycle.py",
        "(True, True, True, False, Phase.PUBLISHING): State.S6,",
        "(True, True, True, False, Phase.PUBLISHING): State.S4,",
        (FAILPOINTS,),
    ),
    Mutant(
        "the phase comes before the seal",
        "batchd/daemon/publisher.py",
        "            sha256 = self._spool.seal_publish(batch.id)\n",
        '            sha256 = ""\n',
        (POWER, FAILPOINTS, "tests/daemon/test_publisher.py"),
    ),
    Mutant(
        "results with gaps are published",
        "batchd/daemon/publisher.py",
        "                if index != expected:\n",
        "                if False:\n",
        ("tests/daemon/test_publisher.py",),
    ),
    Mutant(
        "the directory is deleted before it is archived",
        "batchd/daemon/publisher.py",
        "        self._spool.archive(batch.id)\n",
        "",
        (FAILPOINTS,),
    ),
    Mutant(
        "a journal is open while its directory is deleted",
        "batchd/daemon/publisher.py",
        "        batch.journal.close()\n",
        "",
        ("tests/daemon/test_publisher.py",),
    ),
    Mutant(
        "a half copy is believed",
        PROCESSING,
        '                disk.remove_file("input.jsonl", place)\n',
        "                pass\n",
        (FAILPOINTS, SPOOL_CONTRACT),
    ),
    Mutant(
        "answers are shown before they are durable",
        "batchd/daemon/ledger.py",
        "        future = self._batch.journal.record(outcome)\n",
        "        self._append(outcome)\n        future = self._batch.journal.record(outcome)\n",
        ("tests/daemon/test_ledger.py",),
    ),
    Mutant(
        "a damaged journal is thrown away",
        "batchd/daemon/recovery.py",
        "            spool.put_journal_aside(action.batch_id)\n",
        "            spool.reset_intake(action.batch_id)\n",
        ("tests/daemon/test_recovery_damaged.py",),
    ),
    Mutant(
        "answers are salvaged for whichever line",
        ROWS,
        'self._get("cid", custom_id_key(custom_id)) == pack_key(index)',
        "index < self._counted.total",
        ("tests/edges/test_journal_salvage.py",),
    ),
    Mutant(
        "what gave the answers is not salvaged",
        "batchd/edges/journal/__init__.py",
        "            self._writer.run(lambda rows: rows.note(USES, uses.to_meta()))\n",
        "            self._writer.run(lambda rows: rows.note(USES, account_of({}).to_meta()))\n",
        ("tests/edges/test_journal_salvage.py",),
    ),
    Mutant(
        "a lock file with a hole",
        ENVIRONMENT,
        "        self._reserve_lock()\n",
        "",
        (JOURNAL,),
    ),
    Mutant(
        "a file that somebody writes is claimed",
        INTAKE,
        "        if self._spool.has_writer(name):\n",
        "        if False:\n",
        ("tests/daemon/test_intake_sweep.py", "tests/daemon/test_intake.py", "tests/chaos/test_inbox.py"),
    ),
    Mutant(
        "a file that changed under the copy is believed",
        PROCESSING,
        "    if has_writer or not is_same or size_bytes != after.st_size:\n",
        "    if False:\n",
        ("tests/edges/test_spool.py",),
    ),
    Mutant(
        "a file with a second name is taken",
        PROCESSING,
        "found.st_nlink != 1",
        "found.st_nlink < 1",
        (ATTACKS,),
    ),
    Mutant(
        "links are followed",
        PROCESSING,
        "_READ = os.O_RDONLY | os.O_NOFOLLOW |",
        "_READ = os.O_RDONLY |",
        (ATTACKS, SPOOL_CONTRACT),
    ),
    Mutant(
        "two daemons on one spool",
        "batchd/edges/spool/lock.py",
        "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)\n",
        ("tests/edges/test_spool.py",),
    ),
    Mutant(
        "a full disk gives a journal up",
        "batchd/edges/journal/writer.py",
        "self.waits_for_room and not self._is_closing",
        "False and not self._is_closing",
        ("tests/edges/test_journal_writer.py",),
    ),
    Mutant(
        "results that found no room end the daemon",
        "batchd/app/blocking.py",
        "        except NoSpaceError:\n",
        "        except ZeroDivisionError:\n",
        ("tests/app/test_doorway.py",),
    ),
    Mutant(
        "what was promised is deleted on a full disk",
        "batchd/app/desk.py",
        "        if journal.phase() is Phase.PUBLISHING:",
        "        if False:",
        ("tests/app/test_doorway.py",),
    ),
)


def main(words: list[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    misfits = [mutant.name for mutant in chosen if _count(mutant) != 1]
    for name in misfits:
        print(f"MISFIT    {name}: its text does not match exactly once")
    chosen = [mutant for mutant in chosen if mutant.name not in misfits]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="batchd-teeth-") as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build")
        shutil.copytree(ROOT, tree, ignore=ignored)
        needed = sorted({test for mutant in chosen for test in mutant.tests})
        if _run(tree, needed) != GREEN:
            print("the tests are not green without a mutant")
            return 1
        for mutant in chosen:
            survivors += not _is_caught(tree, mutant)
    print(f"{len(chosen)} mutants, {survivors} survived, {len(misfits)} misfits")
    return int(bool(survivors or misfits))


def _count(mutant: Mutant) -> int:
    return (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.before)


def _is_caught(tree: Path, mutant: Mutant) -> bool:
    path = tree / mutant.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace(mutant.before, mutant.after), encoding="utf-8")
    started = time.perf_counter()
    try:
        code = _run(tree, mutant.tests)
    finally:
        path.write_text(sound, encoding="utf-8")
    word = {GREEN: "SURVIVED", RED: "caught"}.get(code, f"BROKEN {code}")
    print(f"{word:9} {time.perf_counter() - started:6.1f} s  {mutant.name}", flush=True)
    return code == RED


def _run(tree: Path, tests: Sequence[str]) -> int:
    """pytest's exit code. A mutant that hangs is caught as well."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=LIMIT_S, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return RED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
