"""An inbox with more names than anybody means: what is held is bounded, and nobody is shut out by another."""

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd.core.settle import Kind
from batchd.edges.spool import Spool, inbox

MOST = 20


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    monkeypatch.setattr(inbox, "BATCHES_LISTED_MAX", MOST)
    monkeypatch.setattr(inbox, "OTHERS_LISTED_MAX", MOST)
    opened = Spool.open(tmp_path / "spool")
    yield opened
    opened.close()


def test_of_very_many_names_the_first_are_listed_and_the_others_counted(spool: Spool, tmp_path: Path) -> None:
    place = tmp_path / "spool" / "inbox"
    for number in range(3 * MOST):
        (place / f"{number:03}.txt").touch()
        (place / f".hidden-{number}.jsonl").touch()
    (place / "z.jsonl").write_text("{}\n")
    more, *others, batch = spool.sweep()
    assert more.kind is Kind.UNCLAIMABLE
    assert more.reason.startswith(f"{2 * MOST} more names that are no batch files are not listed")
    assert [item.name for item in others] == [b"%03d.txt" % number for number in range(MOST)]
    assert (batch.name, batch.kind) == (b"z.jsonl", Kind.BATCH)
    assert spool.sweep() == [more, *others, batch]


def test_options_are_never_left_out_of_a_batch_that_is_listed(spool: Spool, tmp_path: Path) -> None:
    place = tmp_path / "spool" / "inbox"
    for number in range(3 * MOST):
        (place / f"{number:03}.options.json").write_text("{}")
    (place / "z.jsonl").write_text("{}\n")
    (place / "z.options.json").write_text("{}")
    assert [item.name for item in spool.sweep()][-2:] == [b"z.jsonl", b"z.options.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of several users")
def test_one_owner_does_not_shut_out_another(spool: Spool, tmp_path: Path) -> None:
    place = tmp_path / "spool" / "inbox"
    for number in range(3 * MOST):
        path = place / f"{number:03}.jsonl"
        path.write_text("{}\n")
        os.chown(path, 23_003, -1)
    (place / "z.jsonl").write_text("{}\n")
    seen = spool.sweep()
    assert len(seen) == MOST + 1
    assert seen[-1].name == b"z.jsonl"
    for name in [item.name for item in seen[:MOST]]:
        (place / os.fsdecode(name)).unlink()
    assert next(item.name for item in spool.sweep()) == b"%03d.jsonl" % MOST  # the next ones have their turn


def test_memory_does_not_grow_with_the_names(spool: Spool, tmp_path: Path) -> None:
    place = tmp_path / "spool" / "inbox"

    def peak_of(count: int) -> int:
        for number in range(count):
            (place / f"{number:06}{'x' * 200}").touch()
        spool.sweep()
        tracemalloc.start()
        spool.sweep()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    few = peak_of(300)
    assert peak_of(6_000) < few + 100_000
