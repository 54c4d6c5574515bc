"""The dispatcher and an epidemic: it stops, says why, and a second one finds everything pending."""

from batchd.core.breaker import WINDOW
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer
from batchd.core.request import Request
from batchd.core.rules import Rules
from batchd.daemon.dispatcher import Dispatcher
from tests.daemon.bench import Bench
from tests.fakes.made_batch import chat
from tests.fakes.scripted_model import Script, answer, missing_model

NONSENSE = ModelFault(Category.SERVER, "half an answer", is_temporary=True)


class Ill(Script):
    """Answers every request with nonsense for as long as it is ill; `bad` are always so."""

    def __init__(self, bad: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.is_ill = True
        self.bad = bad
        self.well_for = -1  # answers until it falls ill; never, below 0

    def outcome(self, request: Request) -> Answer | ModelFault:
        self.well_for -= 1
        self.is_ill = self.is_ill or self.well_for == 0
        return NONSENSE if self.is_ill or request.custom_id in self.bad else answer()


def bench_of(
    script: Script, count: int, before: Bench | None = None, models: str = "m"
) -> tuple[Bench, list[str]]:
    """A bench, and what it says when its fuse blows."""
    lines = [chat(f"r{number}", model=models[number * len(models) // count]) for number in range(count)]
    bench = Bench(
        lines, script, batch=None if before is None else before.batch, rules=Rules(2, attempts_max=2)
    )
    reasons: list[str] = []
    bench.dispatcher = Dispatcher(
        bench.batch,
        [bench.model],
        bench.clock,
        bench.spool,
        Rules(2, attempts_max=2),
        bench.durable.append,
        on_blown=reasons.append,
    )
    return bench, reasons


async def test_a_server_that_answers_nonsense_stops_the_batch_and_costs_nobody_an_answer() -> None:
    script = Ill()
    bench, reasons = bench_of(script, 500)
    assert not await bench.work()
    assert len(reasons) == 1
    assert bench.outcomes() == {}
    script.is_ill = False
    again, reasons = bench_of(script, 500, bench)
    assert await again.work()
    assert set(again.outcomes().values()) == {"yes"}
    assert len(again.outcomes()) == 500
    assert reasons == []


async def test_trouble_in_the_middle_keeps_what_is_answered() -> None:
    script = Ill()
    script.is_ill = False
    bench, reasons = bench_of(script, 200)
    script.well_for = 100
    assert not await bench.work()
    assert len(reasons) == 1
    done = len(bench.outcomes())
    assert set(bench.outcomes().values()) == {"yes"}
    script.is_ill = False
    again, _ = bench_of(script, 200, bench)
    assert await again.work()
    assert len(again.model.sent) == 200 - done


async def test_a_few_bad_requests_among_good_ones_are_error_lines() -> None:
    script = Ill(frozenset({"r3", "r50", "r51", "r99"}))
    script.is_ill = False
    bench, reasons = bench_of(script, 100)
    assert await bench.work()
    assert reasons == []
    failed = {name for name, said in bench.outcomes().items() if said == "server"}
    assert failed == script.bad
    assert len(bench.outcomes()) == 100


async def test_a_small_batch_that_fails_altogether_ends_with_its_error_lines() -> None:
    bench, reasons = bench_of(Ill(), WINDOW - 1)
    assert await bench.work()
    assert reasons == []
    assert set(bench.outcomes().values()) == {"server"}


async def test_a_model_that_is_not_there_pauses_many_lines_after_the_other_models_had_their_turn() -> None:
    bench, reasons = bench_of(Script().loads(missing_model("x")), 100, models="xy")
    assert not await bench.work()
    assert len(reasons) == 1
    assert "ollama pull x" in reasons[0]
    assert set(bench.outcomes()) == {f"r{number}" for number in range(50, 100)}
    again, reasons = bench_of(Script(), 100, bench)
    assert await again.work()
    assert set(again.outcomes().values()) == {"yes"}


async def test_a_cancelled_batch_whose_model_is_not_there_ends() -> None:
    bench, reasons = bench_of(Script().loads(missing_model("x")), 100, models="xy")

    def cancel() -> None:
        bench.batch.closing = ModelFault(Category.CANCELLED, "", is_temporary=False)

    bench.model.on_sent("r60", cancel)
    assert await bench.work()
    assert reasons == []
    assert len(bench.outcomes()) == 100


async def test_a_pilot_sends_its_lines_and_no_others() -> None:
    bench, _ = bench_of(Script(), 60)
    assert await bench.dispatcher.work([3, 30, 31])
    assert sorted(bench.model.sent) == ["r3", "r30", "r31"]
    assert await bench.dispatcher.work()
    assert sorted(bench.model.sent) == sorted(f"r{number}" for number in range(60))


async def test_failures_of_a_pilot_wait_for_what_is_decided() -> None:
    script = Ill(frozenset({"r3"}))
    script.is_ill = False
    bench, _ = bench_of(script, 60)
    assert await bench.dispatcher.work([3, 30, 31])
    assert (bench.dispatcher.fuse.failed, set(bench.outcomes())) == (1, {"r30", "r31"})
    assert await bench.dispatcher.work()
    assert bench.outcomes()["r3"] == "server"
    assert bench.model.sent.count("r3") == 2, "two attempts in the pilot, none after it"


async def test_a_pilot_whose_model_is_not_there_asks_a_person_however_few_its_lines() -> None:
    bench, reasons = bench_of(Script().loads(missing_model("m")), 60)
    assert not await bench.dispatcher.work([3, 30])
    assert len(reasons) == 1
    assert bench.outcomes() == {}
