"""The doorway and the disk: what waits holds up nobody, is shown with its reason, and comes in later."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchd.app.doorway import ACTIVE_BATCHES_MAX
from batchd.core.status import StatusReport, parse
from batchd.daemon import reading
from batchd.errors import NoSpaceError
from tests.app.premises import Premises, batch_of, codes
from tests.fakes.made_batch import chat
from tests.fakes.scripted_model import Script

Build = Callable[..., Premises]


def shown(world: Premises) -> StatusReport:
    path = world.root / "status.json"
    return parse(path.read_bytes()) if path.exists() else StatusReport(0.0, 0, "starting")


def details(world: Premises) -> dict[str, str]:
    return {batch.id: batch.detail for batch in shown(world).batches if batch.status == "validating"}


def claimed_with_a_writer(world: Premises, name: str = "slow") -> tuple[str, int]:
    """A batch whose file somebody still holds open, and that descriptor."""
    batch_id = world.drop([chat(name)], f"{name}.jsonl")
    assert world.spool.claim(f"{name}.jsonl".encode(), batch_id)
    original = world.root / "processing" / batch_id / "orig" / f"{name}.jsonl"
    return batch_id, os.open(original, os.O_WRONLY | os.O_APPEND)


async def test_files_that_are_still_written_hold_up_nobody_and_are_shown(premises: Build) -> None:
    world = premises()
    slow = [claimed_with_a_writer(world, f"slow-{number}") for number in range(ACTIVE_BATCHES_MAX)]
    other = world.drop([chat("a")])
    async with world.at_work():
        await world.result(other)
        await world.until(lambda: len(details(world)) == ACTIVE_BATCHES_MAX)
        assert all("still being written" in reason for reason in details(world).values())
        os.write(slow[0][1], b"not a line\n")
        for _, writer in slow:
            os.close(writer)
        assert codes(await world.result(slow[0][0])) == {"slow-0": "answered", None: "invalid_json_line"}
        for batch_id, _ in slow[1:]:
            await world.result(batch_id)
        await world.until(lambda: shown(world).batches == ())


async def test_a_batch_that_is_cancelled_while_its_file_is_written_is_published(
    premises: Build,
) -> None:
    world = premises()
    slow, writer = claimed_with_a_writer(world)
    async with world.at_work():
        await world.until(lambda: details(world).get(slow))
        world.control(slow)
        batch = batch_of(await world.result(slow))
        await world.until(lambda: world.controls() == [])
    os.close(writer)
    assert (batch["status"], batch["request_counts"]["total"]) == ("cancelled", 0)
    assert world.server.sent == []


async def test_while_the_disk_is_short_nothing_may_be_sent_and_the_status_says_so(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = premises()
    world.set_rules(reserve_bytes=1_000_000)
    world.build()
    free = [500_000]
    monkeypatch.setattr(type(world.spool), "free_bytes", lambda spool: free[0])
    async with world.at_work():
        await world.until(lambda: world.house.space.is_short)
        assert not world.house.outlook.may_send()
        await world.until(lambda: "short of space" in shown(world).notice)
        free[0] = 1_400_000
        pings = world.service.pings
        await world.until(lambda: world.service.pings > pings + 2)
        assert not world.house.outlook.may_send()
        free[0] = 1_500_000
        await world.until(world.house.outlook.may_send)
        await world.until(lambda: shown(world).notice == "")


@pytest.mark.parametrize("step", ["create_result", "publish", "discard"])
async def test_results_wait_for_room_with_the_reason_and_are_published_when_there_is_some(
    premises: Build, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    world = premises()
    batch_id = world.drop([chat("a")])
    refused = refusing(world, monkeypatch, step)
    async with world.at_work():
        await world.until(lambda: len(refused) >= 2)
        await world.until(lambda: "takes nothing more" in shown(world).notice)
        monkeypatch.undo()
        result = await world.result(batch_id)
        await world.until(lambda: world.processing() == [])
    assert codes(result) == {"a": "answered"}
    assert len(world.server.sent) == 1


async def test_a_house_whose_results_wait_for_room_can_be_stopped_and_the_next_one_publishes(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = premises()
    batch_id = world.drop([chat("a")])
    refused = refusing(world, monkeypatch, "create_result")
    async with world.at_work():
        await world.until(lambda: refused)
    assert world.processing() == [batch_id]
    monkeypatch.undo()
    world.build()
    async with world.at_work():
        assert codes(await world.result(batch_id)) == {"a": "answered"}
    assert len(world.server.sent) == 1


def refusing(world: Premises, monkeypatch: pytest.MonkeyPatch, step: str) -> list[str]:
    """From now on this step finds a full disk; grows with each try."""
    tries: list[str] = []

    def refuse(*_: object) -> None:
        tries.append(step)
        raise NoSpaceError(f"no room for {step}")

    monkeypatch.setattr(type(world.spool), step, refuse)
    return tries


async def test_a_watcher_that_never_rings_and_a_name_that_is_no_text_lose_no_file(premises: Build) -> None:
    world = premises()
    world.root.joinpath("inbox", os.fsdecode(b"\xff\xfe.jsonl")).write_bytes(b"x\n")
    async with world.at_work():
        await world.until(lambda: len(list((world.root / "outbox").iterdir())) == 1)
    assert next((world.root / "outbox").iterdir()).name.startswith("__.batch_")


async def test_a_removed_and_recreated_inbox_is_used_again(premises: Build) -> None:
    world = premises()
    async with world.at_work():
        await world.result(world.drop([chat("a")]))
        (world.root / "inbox").rmdir()
        await world.until(lambda: shown(world).state == "ready")
        (world.root / "inbox").mkdir()
        assert codes(await world.result(world.drop([chat("b")], "b.jsonl"))) == {"b": "answered"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip("may not mount a small disk here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


async def test_on_a_small_disk_what_does_not_fit_waits_until_there_is_room(small_disk: Path) -> None:
    world = Premises(small_disk, Script())
    try:
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * 4_000_000)
        large = world.drop([chat(f"r{n}", text="word " * 500) for n in range(1_000)], "large.jsonl")
        (small_disk / "handed-in.jsonl").unlink()
        small = world.drop([chat("a")])
        async with world.at_work():
            assert codes(await world.result(small)) == {"a": "answered"}
            await world.until(lambda: "no room on the disk" in details(world).get(large, ""))
            filler.unlink()
            assert len(codes(await world.result(large))) == 1_000
    finally:
        world.spool.close()


async def test_a_large_file_holds_up_nobodys_and_a_cancellation_ends_it(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LINES_PER_COMMIT", 1)
    world = premises()
    large = world.drop([chat(f"r{number}") for number in range(20_000)], "large.jsonl")
    async with world.at_work():
        await world.until(lambda: large in details(world))
        small = world.drop([chat("a")], "small.jsonl")
        assert codes(await world.result(small)) == {"a": "answered"}
        assert large in details(world)
        world.control(large)
        batch = batch_of(await world.result(large))
    assert (batch["status"], batch["request_counts"]["total"]) == ("cancelled", 0)
