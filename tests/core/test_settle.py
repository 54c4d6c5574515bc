from batchd.core.settle import Kind, Seen, Watched, observe


def seen(name: bytes, size: int, kind: Kind = Kind.BATCH) -> Seen:
    return Seen(name, kind, (1, 2, size, 3, 4))


def test_a_file_is_settled_when_two_sweeps_far_enough_apart_see_the_same() -> None:
    memory, settled = observe({}, [seen(b"a.jsonl", 10)], now=0.0, settle_s=2.0)
    assert settled == []
    memory, settled = observe(memory, [seen(b"a.jsonl", 10)], now=1.9, settle_s=2.0)
    assert settled == []
    _, settled = observe(memory, [seen(b"a.jsonl", 10)], now=2.0, settle_s=2.0)
    assert settled == [b"a.jsonl"]


def test_a_file_that_grows_begins_again() -> None:
    memory, _ = observe({}, [seen(b"a.jsonl", 10)], now=0.0, settle_s=2.0)
    memory, settled = observe(memory, [seen(b"a.jsonl", 11)], now=2.0, settle_s=2.0)
    assert settled == []
    assert memory[b"a.jsonl"] == Watched((1, 2, 11, 3, 4), 2.0)


def test_a_name_that_has_gone_is_forgotten() -> None:
    memory, _ = observe({}, [seen(b"a.jsonl", 10)], now=0.0, settle_s=0.0)
    memory, _ = observe(memory, [], now=1.0, settle_s=0.0)
    assert memory == {}


def test_an_options_file_that_still_changes_holds_its_batch_back() -> None:
    batch, options = seen(b"a.jsonl", 10), seen(b"a.options.json", 1, Kind.OPTIONS)
    memory, _ = observe({}, [batch], now=0.0, settle_s=2.0)
    memory, settled = observe(memory, [batch, options], now=2.0, settle_s=2.0)
    assert settled == []
    _, settled = observe(memory, [batch, options], now=4.0, settle_s=2.0)
    assert settled == [b"a.jsonl"]


def test_what_cannot_be_claimed_never_settles() -> None:
    memory, _ = observe({}, [seen(b"pipe", 0, Kind.UNCLAIMABLE)], now=0.0, settle_s=0.0)
    _, settled = observe(memory, [seen(b"pipe", 0, Kind.UNCLAIMABLE)], now=9.0, settle_s=0.0)
    assert settled == []


def test_the_oldest_is_first() -> None:
    memory, _ = observe({}, [seen(b"b.jsonl", 1)], now=0.0, settle_s=1.0)
    memory, _ = observe(memory, [seen(b"a.jsonl", 1), seen(b"b.jsonl", 1)], now=1.0, settle_s=1.0)
    _, settled = observe(memory, [seen(b"a.jsonl", 1), seen(b"b.jsonl", 1)], now=3.0, settle_s=1.0)
    assert settled == [b"b.jsonl", b"a.jsonl"]
