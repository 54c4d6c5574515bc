"""The foreground: the same command is the same batch, and a finished one is only looked up."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batchd import failpoints
from batchd.app.foreground import Content, Wanted, hand_in, identify, read_content, run_wanted
from batchd.core.options import is_batch_id
from batchd.edges.spool import Spool
from batchd.errors import SpoolError, UsageError
from tests.app.premises import Premises, codes, options_of
from tests.fakes.made_batch import Line, chat, content
from tests.fakes.scripted_model import Script

Build = Callable[..., Premises]

CONTENT = Content("ab" * 32, frozenset({"m"}))


def wanted(
    source: Path = Path("a.jsonl"),
    content: Content = CONTENT,
    options: dict[str, object] | None = None,
    settings: dict[str, object] | None = None,
    digests: dict[str, str] | None = None,
) -> Wanted:
    return identify(source, content, options or {}, settings or {"model": None}, digests or {"m": "sha256:1"})


def test_the_same_work_has_the_same_id() -> None:
    assert wanted().batch_id == wanted().batch_id
    assert wanted(Path("another-name.jsonl")).batch_id == wanted().batch_id
    assert is_batch_id(wanted().batch_id)
    assert wanted().options["batch_id"] == wanted().batch_id


@pytest.mark.parametrize(
    "other",
    [
        wanted(content=Content("cd" * 32, frozenset({"m"}))),
        wanted(options={"strict": True}),
        wanted(settings={"model": "other"}),
        wanted(digests={"m": "sha256:2"}),
    ],
    ids=["file", "options", "settings", "model"],
)
def test_whatever_can_change_an_answer_makes_another_batch(other: Wanted) -> None:
    assert other.batch_id != wanted().batch_id


def test_the_models_of_a_file_are_found_also_across_the_pieces_it_is_read_in(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    filler = b" " * ((1 << 20) - 10)
    file.write_bytes(content([chat("a", model="one")]) + filler + b'{"model": "two"}\n' + b'"model":"three"')
    found = read_content(file)
    assert found.models >= {"one", "two", "three"}
    assert len(found.sha256) == 64


def test_a_file_that_cannot_be_read_is_a_matter_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no-such\.jsonl cannot be read"):
        read_content(tmp_path / "no-such.jsonl")


def on_disk(world: Premises, name: str, *lines: Line) -> Wanted:
    source = world.root.parent / name
    source.write_bytes(content(lines))
    return wanted(source, read_content(source))


async def test_files_are_run_to_their_results_and_a_second_run_only_looks_them_up(premises: Build) -> None:
    world = premises()
    items = [on_disk(world, "a.jsonl", chat("a")), on_disk(world, "notes.txt", chat("b"))]
    hand_in(world.spool, world.root, items)
    world.build(only=frozenset(item.batch_id for item in items))
    paths = await run_wanted(world.house, world.spool, items)
    assert [codes(Path(paths[item.batch_id])) for item in items] == [{"a": "answered"}, {"b": "answered"}]
    assert Path(paths[items[1].batch_id]).name.startswith("notes.txt.")
    hand_in(world.spool, world.root, items)
    assert list((world.root / "inbox").iterdir()) == []
    calls = len(world.server.calls)
    assert await run_wanted(world.build(), world.spool, items) == paths
    assert len(world.server.calls) == calls


async def test_the_same_file_named_twice_runs_once(premises: Build) -> None:
    world = premises()
    item = on_disk(world, "a.jsonl", chat("a"))
    hand_in(world.spool, world.root, [item, item])
    world.build(only=frozenset({item.batch_id}))
    assert list(await run_wanted(world.house, world.spool, [item, item])) == [item.batch_id]
    assert world.server.sent == ["a"]


async def test_a_run_that_was_interrupted_goes_on_where_it_stopped(premises: Build) -> None:
    world = premises(Script().holds("r2"))
    item = on_disk(world, "a.jsonl", *(chat(f"r{n}") for n in range(4)))
    hand_in(world.spool, world.root, [item])
    world.build(only=frozenset({item.batch_id}))

    def interrupt() -> None:
        world.house.stop()
        world.server.release()

    world.server.on_sent("r2", interrupt)
    assert await run_wanted(world.house, world.spool, [item]) == {}
    before = list(world.server.sent)
    hand_in(world.spool, world.root, [item])
    world.build(only=frozenset({item.batch_id}))
    paths = await run_wanted(world.house, world.spool, [item])
    assert codes(Path(paths[item.batch_id])) == {f"r{n}": "answered" for n in range(4)}
    assert sorted(world.server.sent) == [f"r{n}" for n in range(4)]
    assert len(before) < 4


def test_a_file_that_waits_in_the_inbox_already_is_not_handed_in_again(premises: Build) -> None:
    world = premises()
    item = on_disk(world, "a.jsonl", chat("a"))
    for _ in range(2):
        hand_in(world.spool, world.root, [item])
    assert sorted(path.name for path in (world.root / "inbox").iterdir()) == ["a.jsonl", "a.options.json"]
    options = (world.root / "inbox" / "a.options.json").read_bytes()
    assert options.strip() == options_of(batch_id=item.batch_id)


async def test_a_result_that_was_collected_is_run_again_into_the_directory_that_was_left(
    premises: Build,
) -> None:
    """rsync --remove-source-files takes the files and leaves the directory."""
    world = premises()
    item = on_disk(world, "a.jsonl", chat("a"))
    for _ in range(2):
        hand_in(world.spool, world.root, [item])
        world.build(only=frozenset({item.batch_id}))
        paths = await run_wanted(world.house, world.spool, [item])
        result = Path(paths[item.batch_id])
        assert codes(result) == {"a": "answered"}
        for file in result.iterdir():
            file.unlink()
    assert world.server.sent == ["a", "a"]


def test_a_result_that_is_half_collected_is_waited_for(premises: Build) -> None:
    world = premises()
    item = on_disk(world, "a.jsonl", chat("a"))
    left = world.root / "outbox" / f"a.{item.batch_id}"
    left.mkdir()
    (left / "output.jsonl").touch()
    with pytest.raises(UsageError, match="what is left of an earlier result"):
        hand_in(world.spool, world.root, [item])
    assert list((world.root / "inbox").iterdir()) == []


def test_a_file_that_changed_after_its_id_was_made_is_not_handed_in(premises: Build) -> None:
    world = premises()
    item = on_disk(world, "a.jsonl", chat("a"))
    item.source.write_bytes(content([chat("b")]))
    with pytest.raises(UsageError, match="changed while it was handed in"):
        hand_in(world.spool, world.root, [item])
    assert list((world.root / "inbox").iterdir()) == []


async def test_a_result_that_is_collected_at_once_ends_the_run_all_the_same(
    premises: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = premises()
    item = on_disk(world, "a.jsonl", chat("a"))
    hand_in(world.spool, world.root, [item])
    publish = type(world.spool).publish

    def publish_and_collect(spool: Spool, batch_id: str, name: str) -> str:
        path = publish(spool, batch_id, name)
        shutil.rmtree(path)
        return path

    monkeypatch.setattr(type(world.spool), "publish", publish_and_collect)
    world.build(only=frozenset({item.batch_id}))
    async with asyncio.timeout(20):
        paths = await run_wanted(world.house, world.spool, [item])
    assert Path(paths[item.batch_id]).name == f"a.{item.batch_id}"


@pytest.mark.parametrize("point", ["publish.renamed", "archive.begun", "trash.begun"])
async def test_a_result_that_was_collected_after_a_crash_ends_the_run_all_the_same(
    premises: Build, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Killed right after the publication, collected before the same command is given again."""
    world = premises()
    item = on_disk(world, "a.jsonl", chat("a"))
    hand_in(world.spool, world.root, [item])
    world.build(only=frozenset({item.batch_id}))

    def die(name: str) -> None:
        if name == point:
            raise SpoolError("Killed.")

    failpoints.arm(die)
    try:
        with pytest.raises(ExceptionGroup):
            await run_wanted(world.house, world.spool, [item])
    finally:
        failpoints.arm(None)
    for result in (world.root / "outbox").iterdir():
        shutil.rmtree(result)
    hand_in(world.spool, world.root, [item])
    world.build(only=frozenset({item.batch_id}))
    async with asyncio.timeout(20):
        paths = await run_wanted(world.house, world.spool, [item])
    assert Path(paths[item.batch_id]).name == f"a.{item.batch_id}"
    assert world.server.sent == ["a"]
