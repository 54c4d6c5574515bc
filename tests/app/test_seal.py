"""Published is what was sealed: after a crash before the rename, the house compares first."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from openai.types import Batch

from batchd.app.verify import verify
from tests.app.premises import Premises, batch_of, codes, metrics_of
from tests.fakes.made_batch import chat, embed
from tests.fakes.scripted_model import Script
from tests.fakes.standing_spool import StandingSpool

Build = Callable[..., Premises]


def sealed(place: Path) -> tuple[str, Path]:
    """The spool of a daemon that died between the seal and the rename."""
    standing = StandingSpool(place)
    batch = standing.begin([chat("a"), None, chat("dead-1")])
    publish = standing.assemble(batch)
    standing.close()
    return batch.id, publish


async def test_what_is_still_as_it_was_sealed_is_published_as_it_is(tmp_path: Path, premises: Build) -> None:
    batch_id, publish = await asyncio.to_thread(sealed, tmp_path)
    before = {path.name: path.read_bytes() for path in publish.iterdir()}
    world = premises()
    async with world.at_work():
        result = await world.result(batch_id)
    assert {path.name: path.read_bytes() for path in result.iterdir()} == before


@pytest.mark.parametrize("damage", ["changed", "missing", "surplus"])
async def test_what_a_disk_made_something_else_of_is_assembled_again(
    damage: str, tmp_path: Path, premises: Build
) -> None:
    batch_id, publish = await asyncio.to_thread(sealed, tmp_path)
    lines = (publish / "output.jsonl").read_bytes()
    match damage:
        case "changed":
            (publish / "output.jsonl").write_bytes(lines.replace(b"answer", b"Answer"))
        case "missing":
            (publish / "errors.jsonl").unlink()
        case _:
            (publish / "output.jsonl.tmp").touch()
    world = premises()
    async with world.at_work():
        result = await world.result(batch_id)
        await world.until(lambda: world.processing() == [])
    assert (result / "output.jsonl").read_bytes() == lines
    assert codes(result) == {"a": "answered", None: "invalid_json_line", "dead-1": "crash"}
    assert world.server.sent == []
    assert verify(world.root).findings == ()


async def test_whatever_a_house_publishes_is_found_whole(premises: Build) -> None:
    world = premises(Script().poisons("poison"))
    kinds = {
        "completed": world.drop([chat("a"), None, chat("a"), chat("ü\u2028\n"), chat("poison")], "a.jsonl"),
        "embedded": world.drop([embed("a"), embed("b")], "b.jsonl"),
        "failed": world.drop(b"", "c.jsonl"),
        "strict": world.drop([chat("a"), None], "d.jsonl", strict=True),
        "crlf": world.drop(b"\xef\xbb\xbf\r\n  \nnonsense\r\nnonsense", "f.jsonl"),
    }
    cancelled = world.drop([chat(f"{number}") for number in range(20)], "z.jsonl")
    world.control(cancelled)
    async with world.at_work():
        results = [await world.result(batch_id) for batch_id in (*kinds.values(), cancelled)]
        await world.until(lambda: world.processing() == [])
        report = await asyncio.to_thread(verify, world.root, pause_s=0.01)
    assert report.findings == ()
    assert (report.looked.results, report.looked.originals) == (len(results), len(results))
    for result in results:
        Batch.model_validate(batch_of(result))
        assert set(metrics_of(result)["files"]) == {path.name for path in result.iterdir()} - {"metrics.json"}
    statuses = [batch_of(result)["status"] for result in results]
    assert {"completed", "failed", "cancelled"} <= set(statuses)
