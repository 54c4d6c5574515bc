"""What every spool promises: the one in memory and the real one.

DIAGNOSTICS
    None: tests.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from batchd.core.lifecycle import Place
from batchd.core.settle import Kind
from batchd.daemon.ports import Spool as SpoolPort
from batchd.edges.spool import Spool
from batchd.errors import NotUsableError, SpoolError
from tests.fakes.memory_spool import MemorySpool

ID = "batch_" + "a" * 32
OTHER = "batch_" + "b" * 32
NAME = b"reviews.jsonl"
OPTIONS = b"reviews.options.json"
CONTENT = b'{"custom_id":"1"}\n{"custom_id":"2"}\n'


class World(Protocol):
    """A spool, and what a submitter, a collector and the journal do around it."""

    @property
    def spool(self) -> SpoolPort: ...

    def drop(self, name: bytes, content: bytes) -> None: ...

    def make_journal(self, batch_id: str) -> None: ...

    def published(self, name: str) -> dict[str, bytes] | None: ...

    def collect(self, name: str) -> None: ...

    def partial(self, batch_id: str) -> bytes | None: ...

    def archived(self, batch_id: str) -> dict[bytes, bytes] | None: ...

    def archived_at(self, batch_id: str) -> float: ...

    def tell(self, batch_id: str, verb: str) -> None: ...

    def status(self) -> bytes: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.spool = MemorySpool()

    def drop(self, name: bytes, content: bytes) -> None:
        self.spool.drop(name, content)

    def make_journal(self, batch_id: str) -> None:
        self.spool.journals.add(batch_id)

    def published(self, name: str) -> dict[str, bytes] | None:
        return self.spool.outbox.get(name)

    def collect(self, name: str) -> None:
        del self.spool.outbox[name]

    def partial(self, batch_id: str) -> bytes | None:
        return self.spool.partial.get(batch_id)

    def archived(self, batch_id: str) -> dict[bytes, bytes] | None:
        kept = self.spool.archived.get(batch_id)
        return None if kept is None else kept[1]

    def archived_at(self, batch_id: str) -> float:
        return self.spool.archived[batch_id][0]

    def tell(self, batch_id: str, verb: str) -> None:
        self.spool.told[batch_id, verb] = 0.0

    def status(self) -> bytes:
        return self.spool.status


class DiskWorld:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.spool = Spool.open(root)

    def drop(self, name: bytes, content: bytes) -> None:
        (self.root / "inbox" / name.decode()).write_bytes(content)

    def make_journal(self, batch_id: str) -> None:
        Path(self.spool.journal_path(batch_id)).mkdir()

    def published(self, name: str) -> dict[str, bytes] | None:
        return _files(self.root / "outbox" / name)

    def collect(self, name: str) -> None:
        place = self.root / "outbox" / name
        for file in place.iterdir():
            file.unlink()
        place.rmdir()

    def partial(self, batch_id: str) -> bytes | None:
        file = self.root / "partial" / f"{batch_id}.jsonl"
        return file.read_bytes() if file.exists() else None

    def archived(self, batch_id: str) -> dict[bytes, bytes] | None:
        files = _files(self.root / "archive" / batch_id)
        return None if files is None else {name.encode(): content for name, content in files.items()}

    def archived_at(self, batch_id: str) -> float:
        return (self.root / "archive" / batch_id).stat().st_ctime

    def tell(self, batch_id: str, verb: str) -> None:
        (self.root / "control" / f"{batch_id}.{verb}").touch()

    def status(self) -> bytes:
        return (self.root / "status.json").read_bytes()


def _files(place: Path) -> dict[str, bytes] | None:
    return {file.name: file.read_bytes() for file in place.iterdir()} if place.is_dir() else None


def build_publish(spool: SpoolPort, batch_id: str, files: dict[str, bytes]) -> None:
    spool.begin_publish(batch_id)
    for name, content in files.items():
        with spool.create_result(batch_id, name) as file:
            file.write(content)


class SpoolContract:
    """Run on each spool that fits the port."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    @pytest.fixture
    def spool(self, world: World) -> SpoolPort:
        return world.spool

    @pytest.fixture
    def claimed(self, world: World) -> SpoolPort:
        world.drop(NAME, CONTENT)
        assert world.spool.claim(NAME, ID)
        return world.spool

    def test_an_empty_spool_holds_nothing(self, spool: SpoolPort) -> None:
        assert list(spool.sweep()) == []
        assert spool.places() == {}
        assert list(spool.controls(0.0)) == []
        assert not spool.is_known(ID)
        assert not spool.is_at_work(ID)
        assert spool.result_path(ID) is None
        assert spool.remains_path(ID) is None
        assert 0 < spool.free_bytes() <= spool.disk_bytes()
        free_files = spool.free_files()
        assert (free_files is None) == (spool.disk_files() == 0)
        assert free_files is None or 0 <= free_files <= spool.disk_files()

    def test_a_sweep_tells_batch_files_from_options(self, world: World) -> None:
        world.drop(NAME, CONTENT)
        world.drop(OPTIONS, b"{}")
        assert {item.name: item.kind for item in world.spool.sweep()} == {
            NAME: Kind.BATCH,
            OPTIONS: Kind.OPTIONS,
        }

    def test_a_signature_changes_with_the_content_and_only_then(self, world: World) -> None:
        world.drop(NAME, CONTENT)
        first, again = world.spool.sweep()[0], world.spool.sweep()[0]
        world.drop(NAME, CONTENT + CONTENT)
        assert first == again
        assert world.spool.sweep()[0].signature != first.signature

    def test_nobody_writes_a_file_that_was_dropped_whole(self, world: World) -> None:
        world.drop(NAME, CONTENT)
        assert world.spool.has_writer(NAME) is False

    def test_of_a_file_that_has_gone_no_writer_is_known(self, spool: SpoolPort) -> None:
        assert spool.has_writer(NAME) is None

    def test_a_claim_takes_the_file_out_of_the_inbox(self, world: World, claimed: SpoolPort) -> None:
        assert list(claimed.sweep()) == []
        assert claimed.original_name(ID) == NAME
        assert claimed.places() == {ID: Place(True, False, False, False)}
        assert claimed.is_known(ID)
        assert claimed.is_at_work(ID)

    def test_a_claimed_file_is_described(self, world: World, claimed: SpoolPort) -> None:
        original = claimed.original(ID)
        assert original is not None
        assert (original.name, original.size_bytes, original.lines) == (NAME, len(CONTENT), 2)
        assert original.has_writer is False
        assert claimed.original(ID) == original
        claimed.archive(ID)
        assert claimed.original(ID) is None

    def test_a_batch_takes_what_its_copy_and_its_results_take_and_not_its_original(
        self, claimed: SpoolPort
    ) -> None:
        assert claimed.batch_bytes(OTHER) == 0
        before = claimed.batch_bytes(ID)
        claimed.copy_input(ID)
        copied = claimed.batch_bytes(ID)
        assert copied >= before + len(CONTENT)
        build_publish(claimed, ID, {"output.jsonl": b"x" * 100_000})
        assert claimed.batch_bytes(ID) >= copied + 100_000

    def test_a_claim_of_what_has_gone_leaves_no_trace(self, spool: SpoolPort) -> None:
        assert not spool.claim(NAME, ID)
        assert spool.places() == {}
        assert not spool.is_known(ID)

    def test_an_id_is_claimed_once(self, world: World, claimed: SpoolPort) -> None:
        world.drop(NAME, b"another")
        with pytest.raises(SpoolError):
            claimed.claim(NAME, ID)
        assert [item.name for item in claimed.sweep()] == [NAME]

    @pytest.mark.parametrize("batch_id", ["../escape", "", ".", "batch_", ID.upper(), ID + "/x", ID + "\n"])
    def test_what_is_no_id_names_no_directory(self, world: World, batch_id: str) -> None:
        world.drop(NAME, CONTENT)
        with pytest.raises(SpoolError):
            world.spool.claim(NAME, batch_id)
        assert [item.name for item in world.spool.sweep()] == [NAME]

    def test_options_are_seen_before_the_claim_and_stay(self, world: World) -> None:
        world.drop(NAME, CONTENT)
        assert world.spool.peek_options(NAME) is None
        world.drop(OPTIONS, b'{"strict":true}')
        assert world.spool.peek_options(NAME) == b'{"strict":true}'
        assert len(world.spool.sweep()) == 2

    def test_options_follow_their_batch_and_can_be_read_again(self, world: World, claimed: SpoolPort) -> None:
        world.drop(OPTIONS, b'{"strict":true}')
        assert claimed.claim_options(NAME, ID)
        assert list(claimed.sweep()) == []
        for _ in range(2):
            assert claimed.read_options(NAME, ID) == b'{"strict":true}'
        assert claimed.original_name(ID) == NAME

    def test_a_batch_without_options_has_none(self, world: World, claimed: SpoolPort) -> None:
        assert not claimed.claim_options(NAME, ID)
        assert claimed.read_options(NAME, ID) is None

    def test_options_of_a_later_file_are_not_read(self, world: World, claimed: SpoolPort) -> None:
        claimed.claim_options(NAME, ID)
        world.drop(OPTIONS, b"later")
        assert claimed.read_options(NAME, ID) is None
        assert [item.name for item in claimed.sweep()] == [OPTIONS]

    def test_options_are_claimed_once(self, world: World, claimed: SpoolPort) -> None:
        world.drop(OPTIONS, b"first")
        claimed.claim_options(NAME, ID)
        world.drop(OPTIONS, b"second")
        assert not claimed.claim_options(NAME, ID)
        assert claimed.read_options(NAME, ID) == b"first"
        assert [item.name for item in claimed.sweep()] == [OPTIONS]

    def test_options_above_the_limit_make_the_batch_unusable(self, world: World, claimed: SpoolPort) -> None:
        world.drop(OPTIONS, b" " * (2**20 + 1))
        assert claimed.peek_options(NAME) is None
        assert claimed.claim_options(NAME, ID)
        with pytest.raises(NotUsableError):
            claimed.read_options(NAME, ID)

    def test_the_copy_is_the_original_with_its_hash(self, claimed: SpoolPort) -> None:
        assert claimed.copy_input(ID) == (hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
        with claimed.open_input(ID) as file:
            assert file.read() == CONTENT
        assert claimed.places() == {ID: Place(True, True, False, False)}

    def test_an_input_is_copied_once(self, claimed: SpoolPort) -> None:
        claimed.copy_input(ID)
        with pytest.raises(SpoolError):
            claimed.copy_input(ID)

    def test_an_empty_copy_stands_for_a_file_that_cannot_be_read(self, claimed: SpoolPort) -> None:
        assert claimed.copy_nothing(ID) == (hashlib.sha256(b"").hexdigest(), 0)
        with claimed.open_input(ID) as file:
            assert file.read() == b""

    def test_a_reset_leaves_the_original_alone(self, world: World, claimed: SpoolPort) -> None:
        claimed.copy_input(ID)
        world.make_journal(ID)
        assert claimed.places() == {ID: Place(True, True, True, False)}
        claimed.reset_intake(ID)
        claimed.reset_intake(ID)
        assert claimed.places() == {ID: Place(True, False, False, False)}
        assert claimed.copy_input(ID)[1] == len(CONTENT)

    def test_journals_of_two_batches_live_apart(self, spool: SpoolPort) -> None:
        assert spool.journal_path(ID) != spool.journal_path(OTHER)

    def test_partial_answers_add_up(self, world: World, claimed: SpoolPort) -> None:
        claimed.append_partial(ID, b"one\n")
        claimed.append_partial(ID, b"two\nthree\n")
        assert world.partial(ID) == b"one\ntwo\nthree\n"

    def test_publish_begins_empty_every_time(self, world: World, claimed: SpoolPort) -> None:
        build_publish(claimed, ID, {"output.jsonl": b"torn"})
        assert claimed.places()[ID].has_publish
        build_publish(claimed, ID, {"errors.jsonl": b"1\n"})
        claimed.publish(ID, f"reviews.{ID}")
        assert world.published(f"reviews.{ID}") == {"errors.jsonl": b"1\n"}

    def test_a_result_file_is_created_once(self, claimed: SpoolPort) -> None:
        build_publish(claimed, ID, {"output.jsonl": b""})
        with pytest.raises(SpoolError):
            claimed.create_result(ID, "output.jsonl")

    def test_the_seal_names_the_content_of_every_file(self, claimed: SpoolPort) -> None:
        seals = []
        for files in ({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"2"}, {"a": b"2", "b": b"1"}, {"a": b"1"}):
            build_publish(claimed, ID, files)
            seals.append(claimed.seal_publish(ID))
        assert seals[0] == seals[1]
        assert len(set(seals)) == 3

    def test_a_publication_is_complete_and_gone_from_processing(
        self, world: World, claimed: SpoolPort
    ) -> None:
        build_publish(claimed, ID, {"output.jsonl": b"1\n", "batch.json": b"{}"})
        claimed.seal_publish(ID)
        path = claimed.publish(ID, f"reviews.{ID}")
        assert world.published(f"reviews.{ID}") == {"output.jsonl": b"1\n", "batch.json": b"{}"}
        assert not claimed.places()[ID].has_publish
        assert path.endswith(f"/outbox/reviews.{ID}")
        assert claimed.result_path(ID) == path

    def test_a_publication_overwrites_nothing(self, world: World, claimed: SpoolPort) -> None:
        build_publish(claimed, ID, {"output.jsonl": b"first"})
        claimed.publish(ID, f"reviews.{ID}")
        build_publish(claimed, ID, {"output.jsonl": b"second"})
        with pytest.raises(SpoolError):
            claimed.publish(ID, f"reviews.{ID}")
        assert world.published(f"reviews.{ID}") == {"output.jsonl": b"first"}
        assert claimed.places()[ID].has_publish

    def test_a_result_counts_only_with_its_batch_object(self, world: World, claimed: SpoolPort) -> None:
        build_publish(claimed, ID, {"output.jsonl": b"1\n"})
        path = claimed.publish(ID, f"reviews.{ID}")
        assert claimed.result_path(ID) is None
        assert claimed.remains_path(ID) == path

    def test_a_directory_that_a_collector_left_empty_is_no_result_and_makes_room(
        self, world: World, claimed: SpoolPort
    ) -> None:
        build_publish(claimed, ID, {})
        claimed.publish(ID, f"reviews.{ID}")
        assert (claimed.result_path(ID), claimed.remains_path(ID)) == (None, None)
        assert claimed.is_known(ID)
        build_publish(claimed, ID, {"batch.json": b"{}"})
        path = claimed.publish(ID, f"reviews.{ID}")
        assert claimed.result_path(ID) == path
        assert world.published(f"reviews.{ID}") == {"batch.json": b"{}"}

    def test_the_original_moves_to_the_archive_once(self, world: World, claimed: SpoolPort) -> None:
        world.drop(OPTIONS, b"{}")
        claimed.claim_options(NAME, ID)
        claimed.copy_input(ID)
        claimed.archive(ID)
        claimed.archive(ID)
        assert world.archived(ID) == {NAME: CONTENT, OPTIONS: b"{}"}
        assert claimed.places() == {ID: Place(False, True, False, False)}
        assert claimed.original_name(ID) is None

    def test_the_archive_forgets_only_what_is_older(self, world: World, claimed: SpoolPort) -> None:
        claimed.archive(ID)
        at = world.archived_at(ID)
        assert claimed.expire_archive(100.0, at + 99.0) == 0
        assert world.archived(ID) == {NAME: CONTENT}
        assert claimed.expire_archive(100.0, at + 101.0, lambda: False) == 0
        assert claimed.expire_archive(100.0, at + 101.0) == 1
        assert world.archived(ID) is None

    def test_a_discarded_batch_leaves_only_its_result(self, world: World, claimed: SpoolPort) -> None:
        claimed.append_partial(ID, b"one\n")
        claimed.copy_input(ID)
        world.make_journal(ID)
        build_publish(claimed, ID, {"output.jsonl": b"1\n"})
        claimed.publish(ID, f"reviews.{ID}")
        claimed.archive(ID)
        claimed.discard(ID)
        claimed.empty_trash(ID)
        claimed.discard(ID)
        claimed.empty_trash(ID)
        assert claimed.places() == {}
        assert world.partial(ID) is None
        assert world.published(f"reviews.{ID}") is not None

    def test_an_id_stays_known_until_result_and_original_are_gone(
        self, world: World, claimed: SpoolPort
    ) -> None:
        build_publish(claimed, ID, {"batch.json": b"{}"})
        claimed.publish(ID, f"reviews.{ID}")
        claimed.archive(ID)
        claimed.discard(ID)
        claimed.empty_trash(ID)
        assert not claimed.is_at_work(ID)
        assert claimed.is_known(ID)
        world.collect(f"reviews.{ID}")
        assert claimed.result_path(ID) is None
        assert claimed.is_known(ID)
        claimed.expire_archive(0.0, world.archived_at(ID) + 1.0)
        assert not claimed.is_known(ID)

    def test_two_batches_do_not_touch(self, world: World, claimed: SpoolPort) -> None:
        world.drop(NAME, b"other")
        claimed.claim(NAME, OTHER)
        claimed.copy_input(OTHER)
        claimed.discard(ID)
        claimed.empty_trash(ID)
        assert claimed.places() == {OTHER: Place(True, True, False, False)}

    @pytest.mark.parametrize(
        "method", ["original_name", "copy_input", "open_input", "begin_publish", "archive"]
    )
    def test_of_an_unknown_batch_nothing_is_done(self, spool: SpoolPort, method: str) -> None:
        with pytest.raises(SpoolError):
            getattr(spool, method)(ID)
        assert spool.places() == {}

    def test_the_status_is_the_last_one_written(self, world: World) -> None:
        world.spool.write_status(b'{"a":1}')
        world.spool.write_status(b"{}")
        assert world.status() == b"{}"

    def test_a_control_stays_until_it_is_removed(self, world: World) -> None:
        world.tell(ID, "cancel")
        world.tell(OTHER, "cancel")
        for _ in range(2):
            assert world.spool.control_at(ID, "cancel") is not None
        assert {(batch_id, verb) for batch_id, verb, _ in world.spool.controls(1e12)} == {
            (ID, "cancel"),
            (OTHER, "cancel"),
        }
        assert all(age_s > 1e11 for _, _, age_s in world.spool.controls(1e12))
        assert world.spool.remove_control(ID, "cancel")
        assert not world.spool.remove_control(ID, "cancel")
        assert world.spool.control_at(ID, "cancel") is None
        assert world.spool.control_at(OTHER, "cancel") is not None


class TestMemorySpool(SpoolContract):
    @pytest.fixture
    def world(self) -> World:
        return MemoryWorld()


class TestSpool(SpoolContract):
    @pytest.fixture
    def world(self, disk_world: DiskWorld) -> World:
        return disk_world

    @pytest.fixture
    def disk_world(self, tmp_path: Path) -> Iterator[DiskWorld]:
        world = DiskWorld(tmp_path / "spool")
        yield world
        world.spool.close()
