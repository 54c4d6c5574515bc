"""Verify: every damage is found and named, a whole spool has no finding, and looking changes nothing."""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchd.app.verify import AGAIN, verify
from batchd.core.audit.places import Kind
from batchd.core.audit.report import FINDINGS_PER_BATCH_MAX
from batchd.core.json import dumps, loads
from batchd.core.status import StatusReport, render
from batchd.edges.clock import SystemClock
from batchd.edges.evidence import Evidence
from batchd.errors import ConfigError
from tests.app.damages import (
    CLAIMED,
    DAMAGES,
    PUBLISHED,
    WORKING,
    Damage,
    Spot,
    a_changed_byte,
    a_shown_answer_that_the_journal_lacks,
    build,
)
from tests.fakes.made_batch import chat
from tests.fakes.standing_spool import StandingSpool
from tests.foreign_files import FOREIGN


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool with a batch at every station. Not to be touched."""
    return build(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def spot(whole: Path, tmp_path: Path) -> Spot:
    """A copy to be damaged."""
    shutil.copytree(whole, tmp_path / "spool", symlinks=True)
    return Spot(tmp_path / "spool")


def everything(root: Path) -> dict[Path, tuple[int, int, bytes]]:
    return {
        path: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


def test_a_whole_spool_has_no_finding_and_is_not_touched(whole: Path) -> None:
    before = everything(whole)
    report = verify(whole)
    assert report.findings == ()
    assert report.skipped == ()
    assert not report.is_held
    figures = report.looked.figures()
    assert figures.pop("bytes_read") > 10_000
    assert figures == {
        "batches_at_work": 5,
        "journal_lines": 40,
        "results": 4,
        "result_lines": 32,
        "originals": 2,
    }
    assert everything(whole) == before


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_found_and_named(name: str, spot: Spot) -> None:
    damage, rule, place, what = DAMAGES[name]
    damage(spot)
    report = verify(spot.root)
    named = [
        finding
        for finding in report.findings
        if finding.rule.value == rule and finding.place.endswith(place) and what in finding.what
    ]
    assert named, "\n".join(map(str, report.findings))
    assert all(finding.next_step for finding in report.findings)
    assert not report.is_well


def collected(spot: Spot) -> None:
    for path in spot.result().iterdir():
        path.unlink()


def gone(spot: Spot) -> None:
    shutil.rmtree(spot.result())


def expired(spot: Spot) -> None:
    shutil.rmtree(spot.original().parent)


def run_twice(spot: Spot) -> None:
    """The first result was collected, and the same file handed in again under the same id."""
    shutil.copytree(spot.original().parent, spot.root / "archive" / f"{PUBLISHED}.2")


def torn(spot: Spot) -> None:
    with spot.partial().open("ab") as file:
        file.write(b'{"id":"batch_req_')


def thrown_away(spot: Spot) -> None:
    spot.at_work(CLAIMED).rename(spot.at_work(f".trash-{CLAIMED}"))


def begun(spot: Spot) -> None:
    (spot.at_work(CLAIMED) / "journal").mkdir()
    (spot.at_work(CLAIMED) / "journal" / "data.mdb").touch()


def claiming(spot: Spot) -> None:
    (spot.at_work(f"batch_{'a' * 32}") / "orig").mkdir(parents=True)


def assembling(spot: Spot) -> None:
    (spot.at_work(WORKING) / "publish").mkdir()
    (spot.at_work(WORKING) / "publish" / "output.jsonl").write_bytes(b"half")


def behind(spot: Spot) -> None:
    path = spot.root / "status.json"
    path.write_bytes(path.read_bytes().replace(b'"completed":1', b'"completed":0'))


def shown_before_intake_had_ended(spot: Spot) -> None:
    path = spot.root / "status.json"
    counted, uncounted = b'"total":8,"completed":1,"failed":3', b'"total":0,"completed":0,"failed":0'
    assert counted in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(counted, uncounted))


def a_status_that_a_power_cut_emptied(spot: Spot) -> None:
    (spot.root / "status.json").write_bytes(b"")


def no_status(spot: Spot) -> None:
    (spot.root / "status.json").unlink()


def submitters_business(spot: Spot) -> None:
    (spot.root / "inbox" / "link.jsonl").symlink_to("/etc/passwd")
    (spot.root / "control" / "anything").touch()


@pytest.mark.parametrize(
    "change",
    [
        collected,
        gone,
        expired,
        run_twice,
        torn,
        thrown_away,
        begun,
        claiming,
        assembling,
        behind,
        shown_before_intake_had_ended,
        no_status,
        a_status_that_a_power_cut_emptied,
        submitters_business,
    ],
)
def test_what_may_be_has_no_finding(change: Damage, spot: Spot) -> None:
    change(spot)
    report = verify(spot.root)
    assert report.findings == ()


def test_a_journal_that_was_damaged_and_replaced_is_said_and_no_finding(spot: Spot) -> None:
    """Answers that were shown may have been lost with it; they are computed again."""
    journal = spot.at_work(WORKING) / "journal"
    shutil.copytree(journal, journal.with_name("journal.damaged-1"))
    a_shown_answer_that_the_journal_lacks(spot)
    shutil.copytree(spot.original().parent, spot.original().parent / ".journal.damaged-1")
    report = verify(spot.root)
    assert report.findings == ()
    assert report.skipped == (
        f"processing/{WORKING}: its journal was damaged and replaced; journal.damaged-1.",
    )
    shutil.rmtree(journal)
    assert verify(spot.root).findings == ()


def test_results_of_an_older_batchd_are_said_to_be_without_hashes(spot: Spot) -> None:
    with spot.object("metrics.json", is_resealed=False) as metrics:
        del metrics["files"]
    report = verify(spot.root)
    assert report.findings == ()
    (sentence,) = report.skipped
    assert f"outbox/reviews.{PUBLISHED}: metrics.json has no hashes" in sentence


def test_a_file_that_vanishes_while_it_is_looked_at_is_a_finding(spot: Spot) -> None:
    gone = spot.result() / "errors.jsonl"

    def watch(place: str, size_bytes: int) -> None:
        if place == f"outbox/reviews.{PUBLISHED}/output.jsonl":
            gone.unlink(missing_ok=True)

    (found,) = verify(spot.root, watch=watch).findings
    assert (found.rule.value, found.what) == ("I4", "It cannot be read: No such file or directory.")


def test_of_a_great_damage_the_first_findings_are_kept_and_all_counted(spot: Spot) -> None:
    with spot.lines("output.jsonl") as lines:
        lines[:] = [b"nonsense\n"] * 1_000
    report = verify(spot.root)
    assert len(report.findings) == FINDINGS_PER_BATCH_MAX
    assert report.more > 900


def test_a_file_whose_bytes_could_not_be_read_as_a_batch_keeps_its_original_unproven(tmp_path: Path) -> None:
    standing = StandingSpool(tmp_path)
    standing.publish(b"")
    standing.close()
    (original,) = (standing.root / "archive").glob("*/*.jsonl")
    original.unlink()
    original.symlink_to("/dev/null")
    assert verify(standing.root).findings == ()


@pytest.mark.parametrize("name", ["UTF-16, as PowerShell writes it", "gzip", "an array, line by line"])
def test_a_file_of_the_wrong_type_has_no_lines_and_no_finding(tmp_path: Path, name: str) -> None:
    standing = StandingSpool(tmp_path)
    standing.publish(FOREIGN[name][0])
    standing.close()
    report = verify(standing.root)
    assert report.findings == ()
    assert report.looked.bytes_read > 0


@pytest.mark.parametrize("says", [True, False])
def test_lines_of_a_batch_file_are_missed_though_the_result_says_there_were_none(
    tmp_path: Path, says: bool
) -> None:
    standing = StandingSpool(tmp_path)
    standing.publish([chat("a"), chat("b")])
    standing.close()
    spot = Spot(standing.root)
    (spot.result() / "output.jsonl").write_bytes(b"")
    spot.reseal("output.jsonl")
    if says:
        with spot.object("batch.json") as batch:
            batch["errors"] = {"object": "list", "data": [{"code": "wrong_file_type"}]}
    missed = [finding for finding in verify(spot.root).findings if "has no outcome" in finding.what]
    assert len(missed) == 2


def test_a_line_over_the_limit_may_keep_its_custom_id_to_itself(tmp_path: Path) -> None:
    """Nobody read it, so its error line has none."""
    standing = StandingSpool(tmp_path)
    standing.publish([chat("a"), chat("too-long")])
    standing.close()
    spot = Spot(standing.root)
    with spot.lines("output.jsonl") as lines:
        long = lines.pop()
    error = b'"response":null,"error":{"code":"line_too_long","message":"So long.","line":2}}\n'
    line = long.partition(b'"custom_id"')[0] + b'"custom_id":null,' + error
    (spot.result() / "errors.jsonl").write_bytes(line)
    spot.reseal("errors.jsonl")
    with spot.object("batch.json") as batch:
        batch["request_counts"] = {"total": 2, "completed": 1, "failed": 1}
        batch["error_file_id"] = "errors.jsonl"
        batch["usage"].update(input_tokens=7, output_tokens=3)
    assert verify(spot.root).findings == ()


def test_results_beside_a_spool_of_run_are_found(whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "batchd-results"
    shutil.copytree(whole, results / ".spool")
    for path in (results / ".spool" / "outbox").iterdir():
        path.rename(results / path.name)
    (results / ".spool" / "outbox").rmdir()
    (results / "my notes.txt").touch()
    report = verify(results / ".spool")
    assert report.findings == ()
    assert report.looked.results == 4
    (results / f"reviews.{PUBLISHED}" / "output.jsonl").unlink()
    assert not verify(results / ".spool").is_well


@pytest.mark.parametrize("missing", ["", "processing"])
def test_what_is_no_spool_is_said(tmp_path: Path, missing: str) -> None:
    for room in {"inbox", "processing", "archive", "partial"} - {missing}:
        (tmp_path / "s" / room).mkdir(parents=True)
    with pytest.raises(ConfigError, match="is no spool"):
        verify(tmp_path / "s" if missing else tmp_path / "absent")


# --- beside a daemon -------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Iterator[StandingSpool]:
    """A spool whose lock is held, with one result."""
    standing = StandingSpool(tmp_path)
    standing.publish([chat("a"), chat("b")])
    yield standing
    standing.close()


class Mending:
    """Watches what is read, and mends the damage once the first look has read the damaged file."""

    def __init__(self, mend: Callable[[], object]) -> None:
        self._mend = mend
        self.reads = 0

    def __call__(self, place: str, size_bytes: int) -> None:
        if place.endswith("output.jsonl"):
            self.reads += 1
            if self.reads == 2:  # both lines went by
                self._mend()


def test_beside_a_daemon_only_what_is_found_again_is_reported(held: StandingSpool) -> None:
    path = Spot(held.root).result() / "output.jsonl"
    before = path.read_bytes()
    a_changed_byte(Spot(held.root))
    watch = Mending(lambda: path.write_bytes(before))
    report = verify(held.root, watch=watch, pause_s=0.01)
    assert report.is_held
    assert report.findings == ()
    assert watch.reads == 4
    assert report.looked.results == 1


def test_beside_a_daemon_what_stays_wrong_is_reported(held: StandingSpool) -> None:
    a_changed_byte(Spot(held.root))
    watch = Mending(lambda: None)
    report = verify(held.root, watch=watch, pause_s=0.01)
    assert len(report.findings) == 1
    assert watch.reads == 6


def test_a_daemon_whose_lock_cannot_be_seen_is_known_by_its_fresh_status(spot: Spot) -> None:
    def show(state: str, age_s: float) -> None:
        report = StatusReport(SystemClock().now() - age_s, 1, state)
        (spot.root / "status.json").write_bytes(render(report))

    show("ready", 1.0)
    assert verify(spot.root).is_held
    show("ready", 60.0)
    assert not verify(spot.root).is_held
    show("stopped", 1.0)
    assert not verify(spot.root).is_held


def test_twice_as_many_archived_batches_cost_twice_as_much_and_not_four_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, read = Evidence.listing, [0]

    def counted(self: Evidence, place: Path) -> dict[str, Kind]:
        found = listing(self, place)
        read[0] += len(found)
        return found

    monkeypatch.setattr(Evidence, "listing", counted)
    StandingSpool(tmp_path).close()

    def names_read(count: int) -> int:
        for number in range(count):
            original = tmp_path / "spool" / "archive" / f"batch_{number:032x}"
            original.mkdir(exist_ok=True)
            (original / "reviews.jsonl").touch()
        read[0] = 0
        report = verify(tmp_path / "spool")
        assert report.looked.originals == count
        return read[0]

    few, many = names_read(50), names_read(100)
    assert many <= 2 * few


def test_all_that_is_odd_is_looked_at_again_after_one_pause(
    held: StandingSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [held.begin([chat("a"), chat("b")]) for _ in range(5)]
    for batch in batches:
        (held.root / "processing" / batch.id / "input.jsonl").write_bytes(b"{}")
    paused: list[float] = []
    monkeypatch.setattr(time, "sleep", paused.append)
    assert len({finding.place for finding in verify(held.root, pause_s=7.0).findings}) >= len(batches)
    assert paused == [7.0] * AGAIN


# --- a spool of somebody who means harm ------------------------------------------------------------------


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def deep_json(path: Path) -> None:
    path.write_bytes(b"[" * 500_000)


def no_end(path: Path) -> None:
    os.truncate(path, 80 << 20)


def other_types(path: Path) -> None:
    path.write_bytes(
        b'{"files":[],"provenance":{"input":1},"request_counts":null,"id":{},"batches":7,"version":true}'
    )


def at(pattern: str, change: Callable[[Path], None]) -> Damage:
    return lambda spot: change(min(spot.root.glob(pattern)))


HARM: dict[str, Damage] = {}
for _change in (a_fifo, a_device, a_directory, deep_json, no_end, other_types):
    for _pattern in (
        *("status.json", "outbox/*/batch.json", "outbox/*/metrics.json", "outbox/*/output.jsonl"),
        *("partial/*.jsonl", "processing/*/journal/data.mdb", "processing/*/input.jsonl"),
        "processing/*/orig/*.jsonl",
    ):
        HARM[f"{_change.__name__} {_pattern}"] = at(_pattern, _change)


@pytest.mark.parametrize("name", HARM)
def test_whatever_lies_in_a_spool_ends_in_a_report(name: str, spot: Spot) -> None:
    HARM[name](spot)
    report = verify(spot.root)
    assert all(finding.next_step for finding in report.findings)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("name", ["batch.json", "metrics.json"])
def test_values_of_any_type_in_a_result_end_in_a_report(name: str, seed: int, spot: Spot) -> None:
    chance = random.Random(seed)
    path = min((spot.root / "outbox").glob(f"*/{name}"))
    path.write_bytes(dumps(changed(loads(path.read_bytes()), chance)))
    report = verify(spot.root)
    assert report.findings or name == "metrics.json"  # most of its values are told to people only
    assert all(finding.next_step for finding in report.findings)


ODD: list[object] = [None, True, -1, 1e308, 2**53, "", "\x1b[2J", [], {}, [[]], {"": {}}]


def changed(value: object, chance: random.Random) -> object:
    """Some of its values become something else."""
    if chance.random() < 0.15:
        return chance.choice(ODD)
    if isinstance(value, dict):
        return {key: changed(item, chance) for key, item in value.items()}
    if isinstance(value, list):
        return [changed(item, chance) for item in value]
    return value


# --- answers that were rejected --------------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path: Path) -> Spot:
    """A spool with one result, in which two answers were rejected."""
    standing = StandingSpool(tmp_path)
    standing.publish([chat("a"), chat("odd-1"), chat("b"), chat("dead-1"), chat("odd-2")])
    standing.close()
    return Spot(standing.root)


def test_rejected_answers_are_looked_at_with_the_rest(odd: Spot) -> None:
    assert (odd.result() / "rejected.jsonl").read_bytes().count(b"\n") == 2
    assert verify(odd.root).findings == ()


def test_a_rejected_answer_that_is_missing_is_found(odd: Spot) -> None:
    with odd.lines("rejected.jsonl") as lines:
        del lines[1]
    (found,) = verify(odd.root).findings
    assert "The answers of 1 error lines are not in it." in found.what


def test_a_missing_file_of_rejected_answers_is_found_though_no_figure_names_it(odd: Spot) -> None:
    (odd.result() / "rejected.jsonl").unlink()
    odd.reseal("rejected.jsonl")
    (found,) = verify(odd.root).findings
    assert "The answers of 2 error lines are not in it." in found.what


def test_rejected_answers_in_another_order_or_too_many_are_found(odd: Spot) -> None:
    with odd.lines("rejected.jsonl") as lines:
        lines.reverse()
        lines.append(lines[0])
    found = verify(odd.root).findings
    assert [finding.what.split(" ")[1] for finding in found] == ["1", "2", "3"]
    assert all("not of the next error line" in finding.what for finding in found)


def test_a_rejected_answer_that_is_cut_off_is_found(odd: Spot) -> None:
    with odd.lines("rejected.jsonl") as lines:
        lines[-1] = lines[-1][:-10]
    told = " ".join(finding.what for finding in verify(odd.root).findings)
    assert "Line 2 is cut off" in told


def test_a_changed_byte_of_a_rejected_answer_is_found(odd: Spot) -> None:
    with odd.lines("rejected.jsonl", is_resealed=False) as lines:
        lines[0] = lines[0].replace(b"choices", b"Choices")
    (found,) = verify(odd.root).findings
    assert found.place.endswith("rejected.jsonl")
    assert "SHA-256" in found.what
