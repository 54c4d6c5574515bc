"""What is whole in a damaged journal is found without LMDB, and nothing else.

DIAGNOSTICS
    None: tests.
"""

import random
import zlib
from array import array
from pathlib import Path

import orjson
import pytest

from batchd.core.lifecycle import Phase
from batchd.core.model import Loaded
from batchd.core.provenance import USES, Account, account_of
from batchd.core.record import LineRow, NewLine, Outcome, Plan, Salvaged
from batchd.edges.journal import Journal
from batchd.edges.journal.salvage import whole_results

LINES = 400


def answer(index: int) -> bytes:
    """Short, compressed and long ones: inside a page, and on pages of their own."""
    noise = random.Random(index).randbytes((index % 5) * 2000).hex()
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 4}}
    body = {"choices": [{"message": {"content": noise or "yes"}}], "usage": usage}
    return orjson.dumps({"custom_id": f"c-{index}", "response": {"body": body}, "error": None})


def make(path: Path) -> Journal:
    journal = Journal.create(str(path))
    journal.claim_custom_ids([f"c-{index}" for index in range(LINES)], 0)
    journal.add_lines(
        [NewLine(index, LineRow(index, 1, zlib.crc32(b"x"), 0, index + 1)) for index in range(LINES)]
    )
    return journal


async def answered(path: Path) -> dict[int, bytes]:
    """A journal with three quarters of its answers, written over many commits; what it holds."""
    journal = make(path)
    journal.accept(Plan(LINES, (), array("I")), {})
    journal.set_phase(Phase.IN_PROGRESS, {})
    expected = {index: answer(index) for index in range(LINES) if index % 4}
    for index in random.Random(1).sample(sorted(expected), len(expected)):
        if index % 3 == 0:
            await journal.intend([index])  # another commit, which leaves old pages behind
        wait = journal.record(Outcome(index, expected[index], is_error=index % 7 == 0))
    await wait
    journal.close()
    return expected


async def test_every_result_of_a_sound_journal_is_found(tmp_path: Path) -> None:
    expected = await answered(tmp_path / "journal")
    found = list(whole_results(tmp_path / "journal" / "data.mdb"))
    assert {index: (is_error, line) for index, is_error, line in found} == {
        index: (index % 7 == 0, line) for index, line in expected.items()
    }
    assert len(found) == len(expected)


@pytest.mark.parametrize("seed", range(6))
async def test_of_a_damaged_file_every_result_that_is_found_is_right(tmp_path: Path, seed: int) -> None:
    expected = await answered(tmp_path / "journal")
    chance = random.Random(seed)
    data = bytearray((tmp_path / "journal" / "data.mdb").read_bytes())
    data[:8192] = chance.randbytes(8192)  # both meta pages: LMDB would not even open it
    for _ in range(20):
        at = chance.randrange(0, len(data), 4096)
        data[at : at + 4096] = chance.choice([bytes(4096), chance.randbytes(4096), data[8192:12288]])
    for _ in range(200):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    del data[int(len(data) * chance.uniform(0.5, 1.0)) :]
    (tmp_path / "damaged").write_bytes(data)
    found = {index: line for index, _, line in whole_results(tmp_path / "damaged")}
    assert found.items() <= expected.items()
    assert len(found) > LINES // 10


@pytest.mark.parametrize("content", [b"", b"x", bytes(4096), bytes(5000)])
def test_a_file_without_a_page_of_results_has_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    assert list(whole_results(tmp_path / "data.mdb")) == []


async def test_a_new_journal_takes_over_what_belongs_to_its_lines(tmp_path: Path) -> None:
    expected = await answered(tmp_path / "old")
    journal = make(tmp_path / "new")
    assert journal.salvage_from(str(tmp_path / "old")) == Salvaged(len(expected), has_uses=False)
    assert journal.salvage_from(str(tmp_path / "old")) == Salvaged(0, has_uses=False)
    assert {index: line for index, _, line in journal.results()} == expected
    progress = journal.progress()
    failed = sum(index % 7 == 0 for index in expected)
    assert (progress.completed, progress.failed) == (len(expected) - failed, failed)
    assert progress.spent.prompt_tokens == 10 * len(expected)
    journal.close()
    Journal.open(str(tmp_path / "new")).close()


async def test_an_answer_of_another_line_is_not_taken(tmp_path: Path) -> None:
    await answered(tmp_path / "old")
    journal = Journal.create(str(tmp_path / "new"))
    journal.claim_custom_ids([f"c-{index + 1}" for index in range(LINES)], 0)
    journal.add_lines([NewLine(index, LineRow(index, 1, 0, 0, index + 1)) for index in range(LINES)])
    assert journal.salvage_from(str(tmp_path / "old")) == Salvaged(0, has_uses=False)
    journal.close()


def test_from_a_journal_that_is_not_there_nothing_is_taken(tmp_path: Path) -> None:
    journal = make(tmp_path / "new")
    assert journal.salvage_from(str(tmp_path / "missing")) == Salvaged(0, has_uses=False)
    journal.close()


async def used(path: Path, loads: int, models: int = 3) -> Account:
    """A journal that kept its account at each of so many loads, of models that take turns."""
    await answered(path)
    journal = Journal.open(str(path))
    account = Account()
    for number in range(loads):
        loaded = Loaded(
            f"model-{number % models}", f"sha256:{number % models}", "Q4", 1_024, 4, 9, 9, 8_192, 1.0
        )
        account = account.used(loaded, {"engine": {"name": "x" * 40}}, 1, 7)
        journal.note(USES, account.to_meta())
        journal.forget_intents()  # a commit of its own, so that the older ones stay behind in the file
    journal.close()
    return account


@pytest.mark.parametrize(("loads", "models"), [(1, 1), (9, 3), (60, 60)])
async def test_what_gave_the_answers_is_taken_over_as_it_was_last(
    tmp_path: Path, loads: int, models: int
) -> None:
    account = await used(tmp_path / "old", loads, models)
    with (tmp_path / "old" / "data.mdb").open("r+b") as data:
        data.write(bytes(8192))
    journal = make(tmp_path / "new")
    assert journal.salvage_from(str(tmp_path / "old")).has_uses
    assert account_of(journal.meta()) == account
    journal.close()


async def test_of_several_journals_the_last_account_is_kept(tmp_path: Path) -> None:
    await used(tmp_path / "first", 2)
    account = await used(tmp_path / "second", 5)
    journal = make(tmp_path / "new")
    for name in ("first", "second", "first"):
        assert journal.salvage_from(str(tmp_path / name)).has_uses
    assert account_of(journal.meta()) == account
    journal.close()
