"""Damaged files in great number: each is noticed, or harmless, and none kills or hangs the process.

SUMMARY
    BATCHD_TEST_DAMAGES is their number, BATCHD_TEST_SEED the first seed.

DIAGNOSTICS
    None: tests.
"""

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from batchd.edges.journal import Journal
from batchd.errors import DamagedJournalError
from tests.edges.test_journal_salvage import answered

DAMAGES = int(os.environ.get("BATCHD_TEST_DAMAGES", "60"))
SEED = int(os.environ.get("BATCHD_TEST_SEED", "20261121"))
PAGE = 4096


def damaged(sound: bytes, seed: int) -> bytes:
    """Lost pages, flipped bits, a lost end, or noise in the header of a page."""
    chance, data = random.Random(seed), bytearray(sound)
    at = chance.randrange(0, len(data), PAGE)
    match seed % 4:
        case 0:
            data[at : at + PAGE] = chance.choice([bytes(PAGE), chance.randbytes(PAGE), sound[:PAGE]])
        case 1:
            for _ in range(chance.randint(1, 300)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 2:
            del data[int(len(data) * chance.random()) :]
        case _:
            for _ in range(chance.randint(1, 8)):
                data[at + chance.randrange(64)] ^= 1 << chance.randrange(8)
    return bytes(data)


def read_all(path: Path) -> bool:
    """Everything that a daemon does with a journal after a start; False when the damage was noticed."""
    try:
        journal = Journal.open(str(path))
    except DamagedJournalError:
        return False
    try:
        journal.forget_intents()
        journal.add_worked(1.0)
        reads = (journal.meta, journal.plan, journal.finished, journal.attempts, journal.events)
        return all(read() is not None for read in reads) and all(line for _, _, line in journal.results())
    except DamagedJournalError:
        return False
    finally:
        journal.close()


@pytest.mark.timeout(60 + DAMAGES // 4)
def test_no_damage_of_the_file_kills_or_hangs_who_reads_it(tmp_path: Path) -> None:
    asyncio.run(answered(tmp_path / "sound"))
    code = "import sys; from tests.edges.test_journal_damage import sweep; sweep(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=50 + DAMAGES // 4,
        check=False,
    )
    assert done.returncode == 0, (
        f"exit {done.returncode} after seed {done.stdout.split()[-1:]}\n{done.stderr}"
    )
    print(f"{DAMAGES} damages, first seed {SEED}")


def sweep(folder: str) -> None:
    """In a child process, which a damaged file might kill."""
    sound = (Path(folder) / "sound" / "data.mdb").read_bytes()
    noticed = 0
    for seed in range(SEED, SEED + DAMAGES):
        print(seed, flush=True)
        path = Path(folder) / f"damaged-{seed}"
        path.mkdir()
        (path / "data.mdb").write_bytes(damaged(sound, seed))
        noticed += not read_all(path)
        (path / "data.mdb").unlink()
    assert noticed > DAMAGES // 2, f"only {noticed} of {DAMAGES} damages were noticed"
