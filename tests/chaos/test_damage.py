"""A damaged journal needs no person: whole answers are kept, the others computed again, and it is said.

DIAGNOSTICS
    None: tests.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from batchd.core.packing import pack_key
from batchd.edges.journal.salvage import whole_results
from tests.chaos.nursery import Nursery
from tests.chaos.world import WAIT_S, World

#: More than are looked at when a journal is opened, so that an old damage is found only at work.
MANY_LINES = 1_100


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Nursery() as nursery, World(tmp_path, nursery) as made:
        made.start()
        yield made


def noise_in_the_metas(data: Path) -> None:
    with data.open("r+b") as file:
        file.write(os.urandom(8192))


def tear(data: Path) -> None:
    os.truncate(data, data.stat().st_size * 2 // 3)


def lose_the_oldest_result(data: Path) -> None:
    """Behind LMDB's back, so that rows and counters differ."""
    with lmdb.open(str(data.parent), max_dbs=16, lib_version=0) as environment:
        results = environment.open_db(b"results", create=False)
        with environment.begin(write=True) as transaction, transaction.cursor(results) as cursor:
            assert cursor.first()
            cursor.delete()


def killed_at_work(world: World, lines: int, order: str) -> str:
    world.wait_until(lambda: (world.spool / "inbox").is_dir(), "the spool")
    world.order(order)
    batch_id = world.drop(lines)
    world.died()
    return batch_id


@pytest.mark.parametrize("damage", [noise_in_the_metas, tear, lose_the_oldest_result])
def test_a_batch_survives_its_journal(world: World, damage: Callable[[Path], None]) -> None:
    batch_id = killed_at_work(world, 60, "answer.durable 40 SIGKILL")
    before = {index for index, is_error, _ in whole_results(world.data_of(batch_id)) if not is_error}
    damage(world.data_of(batch_id))
    whole = {index for index, _, _ in whole_results(world.data_of(batch_id))}
    world.start()
    world.finish()
    world.check(may_repeat=len(before - whole))
    [result] = world.results(batch_id)
    metrics = json.loads((result / "metrics.json").read_bytes())
    [said] = [decision for decision in metrics["decisions"] if decision["name"] == "salvaged"]
    assert said["old"] == "60"
    assert any("damaged journal" in note for note in metrics["notes"])
    assert metrics["answers"]["completed"] == 59
    if damage is not tear:  # what gave the answers before the damage was kept with them
        assert sum(model["loads"] for model in metrics["provenance"]["models"]) >= 1
        assert not any("which models" in note for note in metrics["notes"])
    kept = world.spool / "archive" / batch_id / ".journal.damaged-1" / "data.mdb"
    assert kept.stat().st_size > 0
    assert "goes on without its journal" in world.log()


def test_a_damage_that_is_found_only_at_work_ends_the_daemon_once_and_not_for_ever(world: World) -> None:
    batch_id = killed_at_work(world, MANY_LINES, f"answer.durable {MANY_LINES - 20} SIGKILL")
    data = world.data_of(batch_id)
    with lmdb.open(str(data.parent), max_dbs=16, lib_version=0) as environment:
        results = environment.open_db(b"results", create=False)
        with environment.begin(write=True) as transaction:
            value = bytearray(transaction.get(pack_key(2), b"", db=results))
            value[-3] ^= 1
            transaction.put(pack_key(2), bytes(value), db=results)
    world.start()
    assert world.daemon.wait(WAIT_S) == 1
    assert "line index 2" in world.log()
    world.start()
    world.finish()
    world.check(may_repeat=1)
