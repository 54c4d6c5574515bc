"""The daemon dies at every moment that has a name; what it left is finished by the next one.

SUMMARY
    BATCHD_TEST_SEEDS is how often each moment is tried, with other sizes and counts.
"""

import ast
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchd import failpoints
from tests.chaos.nursery import Nursery
from tests.chaos.tally import tally
from tests.chaos.world import WAIT_S, World

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("BATCHD_TEST_SEEDS", "1"))
#: The first of them; 0 goes through the list in its order.
SEED_FIRST = int(os.environ.get("BATCHD_TEST_SEED_FIRST", "0"))
#: Each row of the journey has its chance to be cut at the second or third time, where it comes so often.
COUNTS_MAX = 3
POINT_S = 20.0

#: Passed only by a daemon that finds what another left: where that one died, and at which time.
FIRST = {"recovery": ("accept.done", 1), "reset": ("copy.done", 1), "aside": ("answer.durable", 4)}


def named_in_the_code() -> list[str]:
    names = []
    for path in sorted((ROOT / "batchd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="failpoints"), attr="reach"), args=args):
                    assert isinstance(args[0], ast.Constant), path
                    names.append(str(args[0].value))
                case _:
                    pass
    return names


def test_the_list_and_the_code_name_the_same_moments_each_once() -> None:
    assert sorted(named_in_the_code()) == sorted(failpoints.NAMES)
    assert len(failpoints.NAMES) == len(set(failpoints.NAMES)) >= 30


def test_nobody_is_told_unless_a_test_arms_it() -> None:
    told: list[str] = []
    failpoints.reach("nowhere")
    failpoints.arm(told.append)
    try:
        failpoints.reach("somewhere")
    finally:
        failpoints.arm(None)
    failpoints.reach("nowhere")
    assert told == ["somewhere"]


def orders() -> Iterator[tuple[str, int, int]]:
    """(failpoint, at which time, lines of the batch)."""
    for seed in range(SEED_FIRST, SEED_FIRST + SEEDS):
        chance = random.Random(seed)
        names = list(failpoints.NAMES)
        if seed:
            chance.shuffle(names)
        for name in names:
            often = name.split(".")[0] in {"commit", "answer"}  # the others take many lines at a time
            yield name, chance.randint(1, COUNTS_MAX) if seed and often else 1, chance.randint(6, 12)


def die_at(world: World, name: str, count: int, lines: int) -> None:
    """One death there, in a daemon that has first finished what the death before it left."""
    before, times = FIRST.get(name.split(".")[0], ("", 0))
    if before:
        world.finish()
        world.order(f"{before} {times} SIGKILL")
        batch_id = world.drop(lines)
        world.died()
        if name.startswith("aside."):
            world.damage_journal(batch_id)
        world.start(f"{name} {count} SIGKILL")
    else:
        world.finish()
        world.order(f"{name} {count} SIGKILL")
        batch_id = world.drop(lines)
    until = time.perf_counter() + POINT_S
    while world.daemon.poll() is None:
        assert time.perf_counter() < until, f"{name} {count} was not reached\n{world.log()}"
        if world.is_published(batch_id) and world.is_tidy():
            batch_id = world.drop(lines)  # one batch need not come there so often
        time.sleep(0.005)
    world.died()


@pytest.mark.timeout(60 + 120 * SEEDS)
def test_a_death_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    with (
        Nursery() as nursery,
        World(tmp_path, nursery) as world,
        tally("failpoints", SEED_FIRST, world.books),
    ):
        world.start()
        for name, count, lines in orders():
            die_at(world, name, count, lines)
            world.start()
        world.finish(WAIT_S)
        world.check()
        assert world.reached() == set(failpoints.NAMES)
