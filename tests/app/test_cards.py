"""Which cards are locked, and for whom."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from batchd.app.cards import cards_held, used_cards
from batchd.app.engines import Engine
from batchd.core.limits import Limits
from batchd.edges.card_lock import held, hold, holders
from batchd.errors import UnavailableError
from batchd.settings import Settings, default_card_locks, load_settings
from tests.batches import write_batch
from tests.fakes.scripted_model import ScriptedServer
from tests.house import clean_environment
from tests.simulator.child import ChildSimulator


def engine(**more: Any) -> Engine:
    return Engine(ScriptedServer(), Limits(1, True), "scripted", "there", "", **more)


def test_an_own_server_uses_its_card_and_any_other_may_use_all() -> None:
    cards = ("GPU-a", "GPU-b", "GPU-c")
    assert used_cards([engine(gpu="2"), engine(gpu="GPU-a")], cards) == ["GPU-a", "GPU-c"]
    assert used_cards([engine(gpu="2"), engine()], cards) == list(cards)
    assert used_cards([engine(gpu="0")], ()) == []


def test_a_server_of_another_machine_locks_nothing_here(tmp_path: Path) -> None:
    settings = Settings(spool=tmp_path, card_locks=(tmp_path,))
    with cards_held(settings, [engine(is_local=False)]):
        assert holders([tmp_path]) == []
    with cards_held(settings, [engine(is_local=False), engine()]):
        assert holders([tmp_path])
        with pytest.raises(UnavailableError), cards_held(settings, [engine()]):
            pass
        with cards_held(settings.model_copy(update={"share_card": True}), [engine()]):
            pass
    assert holders([tmp_path]) == []


def test_what_somebody_holds_where_anybody_can_is_one_warning(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    for place, mode in ((shared, 0o1777), (own, 0o755)):
        place.mkdir()
        place.chmod(mode)
    said: list[str] = []
    sink = logger.add(lambda message: said.append(str(message)), format="{level} {extra[event]} {message}")
    try:
        with held(hold([shared], [], tmp_path)):
            with cards_held(Settings(spool=tmp_path, card_locks=(own, shared)), [engine()]):
                pass
            with pytest.raises(UnavailableError):
                cards_held(Settings(spool=tmp_path, card_locks=(shared, own)), [engine()])
    finally:
        logger.remove(sink)
    assert len(said) == 1
    assert said[0].startswith("WARNING card_shared the lock of machine is also held where anybody may write")
    assert f"process {os.getpid()}" in said[0]


def test_one_directory_may_be_written_as_one_and_several_with_commas(tmp_path: Path) -> None:
    one, both = {"card_locks": str(tmp_path)}, {"card_locks": f"{tmp_path}, /run/x"}
    assert load_settings({"spool": tmp_path, **one}, None, {}).card_locks == (tmp_path,)
    assert load_settings({"spool": tmp_path, **both}, None, {}).card_locks == (tmp_path, Path("/run/x"))


def test_the_locks_lie_where_all_can_meet(tmp_path: Path) -> None:
    system, own, temporary, service = (tmp_path / name for name in ("run-lock", "own", "tmp", "service"))

    def chosen(**environ: str) -> tuple[Path, ...]:
        return default_card_locks(environ, (system, temporary), service)

    assert chosen() == ()
    temporary.mkdir()
    assert chosen(XDG_RUNTIME_DIR=str(own)) == (temporary, service)
    own.mkdir()
    assert chosen(XDG_RUNTIME_DIR=str(own)) == (own, service)
    assert chosen(XDG_RUNTIME_DIR="own") == (temporary, service)
    system.mkdir()
    assert chosen(XDG_RUNTIME_DIR=str(own)) == (system, service)
    assert chosen(RUNTIME_DIRECTORY=f"/run/more:{service}") == (service, system)
    assert chosen(RUNTIME_DIRECTORY="/run/of-another-unit") == (system, service)


def test_a_run_beside_another_batchd_says_who_has_the_card_and_goes_on_when_told_to(tmp_path: Path) -> None:
    batch = write_batch(tmp_path / "packages.jsonl", 3, system="You are terse.")
    with ChildSimulator() as server, held(hold([tmp_path], [], Path("/srv/theirs"))):
        said = []
        for share in ("false", "true"):
            done = subprocess.run(
                [sys.executable, "-m", "batchd", "run", str(batch)],
                cwd=tmp_path,
                env=clean_environment(
                    tmp_path,
                    OLLAMA_HOST=server.address,
                    BATCHD_CARD_LOCKS=str(tmp_path),
                    BATCHD_SHARE_CARD=share,
                ),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            said.append((done.returncode, done.stderr))
        assert server.counts()["answers"] == 3 + 1
    assert [code for code, _ in said] == [75, 0]
    assert f"(process {os.getpid()}, spool /srv/theirs, user " in said[0][1]
    assert "batchd submit --wait" in said[0][1]
