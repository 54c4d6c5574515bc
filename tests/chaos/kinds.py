"""The kinds of blows: the tests that strike them, how many there are to be, and how long one takes.

SUMMARY
    KINDS is the list. A run is one pytest of one kind; `environment` tells it amount and seed.

DIAGNOSTICS
    None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `seconds` is a first guess of one blow's time, `begin_s` what a run takes besides."""

    name: str  # as in the tally
    word: str  # as on the command line
    tests: Sequence[str]
    variable: str
    full: int  # what one release is to have behind it
    nightly: int
    chunk: int  # so many in one run, so that a run is minutes at most
    seconds: float
    begin_s: float = 5.0
    blows_each: float = 1.0  # of one unit of the amount
    is_counted_by_amount: bool = False
    more: Mapping[str, str] | None = None

    def environment(self, amount: int, seed: int) -> dict[str, str]:
        seeds = {"BATCHD_TEST_SEED": str(seed), "BATCHD_TEST_SEED_FIRST": str(seed)}
        return {**seeds, **(self.more or {}), self.variable: str(amount)}


STORMS = "tests/chaos/test_storms.py::"
KINDS = (
    Kind(
        "journal kills",
        "journal",
        (f"{STORMS}test_kills_of_the_journal_take_no_acknowledged_answer_back",),
        "BATCHD_TEST_JOURNAL_KILLS",
        full=2_000,
        nightly=2_000,
        chunk=500,
        seconds=0.08,
    ),
    Kind(
        "daemon kills",
        "daemon",
        (
            f"{STORMS}test_blows_on_the_daemon_and_its_server_lose_nothing_and_double_nothing",
            "tests/chaos/test_kills.py",
        ),
        "BATCHD_TEST_BLOWS",
        full=300,
        nightly=500,
        chunk=100,
        seconds=0.8,
        begin_s=25.0,
        blows_each=0.5,
    ),
    Kind(
        "power cuts",
        "power",
        ("tests/chaos/test_power.py",),
        "BATCHD_TEST_CUTS",
        full=100,
        nightly=300,
        chunk=30,
        seconds=1.5,
        begin_s=20.0,
    ),
    Kind(
        "failpoints",
        "failpoints",
        ("tests/chaos/test_failpoints.py",),
        "BATCHD_TEST_SEEDS",
        full=10,
        nightly=10,
        chunk=1,
        seconds=40.0,
        is_counted_by_amount=True,
    ),
    Kind(
        "system calls",
        "syscalls",
        ("tests/chaos/test_syscalls.py",),
        "BATCHD_TEST_FAULTS",
        full=1_000,
        nightly=1_000,
        chunk=100,
        seconds=0.8,
    ),
    Kind(
        "full disks",
        "disks",
        ("tests/chaos/test_full_disk.py",),
        "BATCHD_TEST_DISKS",
        full=50,
        nightly=50,
        chunk=10,
        seconds=4.0,
        begin_s=50.0,
        is_counted_by_amount=True,
    ),
    Kind(
        "long full disks",
        "long-disks",
        ("tests/chaos/test_long_full_disk.py",),
        "BATCHD_TEST_LONG_DISKS",
        full=20,
        nightly=20,
        chunk=5,
        seconds=20.0,
        more={"BATCHD_TEST_LONG_DISK_HOURS": "3"},
    ),
    Kind(
        "inbox drops",
        "inbox",
        ("tests/chaos/test_inbox.py", "tests/edges/test_watch_overflow.py"),
        "BATCHD_TEST_DROPS",
        full=20_000,
        nightly=20_000,
        chunk=2_000,
        seconds=0.05,
        begin_s=15.0,
    ),
    Kind(
        "hostile members",
        "members",
        ("tests/chaos/test_hostile_members.py",),
        "BATCHD_TEST_RACES",
        full=2_000,
        nightly=2_000,
        chunk=500,
        seconds=0.05,
    ),
    Kind(
        "fuzzed lines",
        "fuzz",
        ("tests/fuzz",),
        "BATCHD_TEST_FUZZ_LINES",
        full=1_000_000,
        nightly=2_000_000,
        chunk=100_000,
        seconds=0.001,
        begin_s=30.0,
    ),
    Kind(
        "state machine",
        "states",
        ("tests/chaos/test_states.py",),
        "BATCHD_TEST_EXAMPLES",
        full=100,
        nightly=2_000,
        chunk=50,
        seconds=0.9,
        is_counted_by_amount=True,
        more={"BATCHD_TEST_STEPS": "50"},
    ),
    Kind(
        "random machines",
        "machines",
        (
            "tests/integration/test_random_machines.py::"
            "test_every_machine_ends_its_batch_by_itself_and_near_its_best_limit",
        ),
        "BATCHD_TEST_MACHINES",
        full=2_000,
        nightly=2_000,
        chunk=200,
        seconds=0.3,
    ),
    Kind(
        "odd answers",
        "odd",
        ("tests/chaos/test_odd_answers.py",),
        "BATCHD_TEST_ODD_ANSWERS",
        full=100_000,
        nightly=100_000,
        chunk=10_000,
        seconds=0.02,
        begin_s=10.0,
    ),
)
