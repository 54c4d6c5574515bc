"""Owners take turns: whose batch is next when one ends, over restarts too."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batchd.core import rota
from batchd.edges.spool import Spool
from batchd.errors import NoSpaceError
from tests.app.premises import Premises
from tests.fakes.made_batch import chat
from tests.fakes.scripted_model import Script

Build = Callable[..., Premises]

ALICE, MALLORY = 23_002, 23_003
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files of several users")

NAMES = ("m0", "m1", "m2", "z")


def hand_in(world: Premises, name: str) -> str:
    """One request of that name; those with an m are Mallory's."""
    batch_id = world.drop([chat(name)], f"{name}.jsonl")
    for path in (world.root / "inbox").glob(f"{name}.*"):
        os.chown(path, MALLORY if name.startswith("m") else ALICE, -1)
    return batch_id


def order(world: Premises) -> list[str]:
    return [custom_id for custom_id in world.server.sent if custom_id in NAMES]


@needs_root
async def test_a_members_many_batches_do_not_hold_up_anothers_only_one(premises: Build) -> None:
    script = Script()
    script.held.add("m0")
    world = premises(script)
    ids = [hand_in(world, "m0")]
    async with world.at_work():
        await world.until(lambda: "m0" in world.server.sent)
        ids += [hand_in(world, name) for name in NAMES[1:]]
        await world.until(lambda: len(world.house._doorway.accepted_ids) == 3)
        world.server.release()
        for batch_id in ids:
            await world.result(batch_id)
    assert order(world)[1] == "z"
    assert len(order(world)) == 4


@needs_root
async def test_after_a_restart_it_is_still_the_others_turn(premises: Build) -> None:
    script = Script()
    script.held.add("m0")
    world = premises(script)
    world.drain_s = 0.05
    world.build()
    ids = [hand_in(world, "m0")]
    async with world.at_work():
        await world.until(lambda: "m0" in world.server.sent)
        ids += [hand_in(world, name) for name in NAMES[1:]]
        await world.until(lambda: len(world.house._doorway.accepted_ids) == 3)
    world.server.release()
    world.server.sent.clear()
    world.build()
    async with world.at_work():
        for batch_id in ids:
            await world.result(batch_id)
    assert order(world)[:2] == ["m0", "z"]  # what was at work goes on first


def test_the_order_is_kept_in_the_spool(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool")
    assert spool.turns() == b""
    spool.keep_turns(rota.Rota((1, 2, 3), "batch_1").as_bytes())
    spool.keep_turns(rota.Rota((1, 2)).as_bytes())
    assert rota.parse(spool.turns()) == rota.Rota((1, 2))
    (tmp_path / "spool" / "turns").unlink()
    (tmp_path / "spool" / "turns").symlink_to("/etc/passwd")
    assert spool.turns() == b""
    spool.close()


async def test_a_full_disk_costs_only_the_memory_of_it(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(spool: Spool, content: bytes) -> None:
        raise NoSpaceError("No space left on device.")

    monkeypatch.setattr(Spool, "keep_turns", full)
    world = premises()
    batch_id = world.drop([chat("a")])
    async with world.at_work():
        await world.result(batch_id)
