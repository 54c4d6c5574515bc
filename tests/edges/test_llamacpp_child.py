"""The child process of llama.cpp: what it is told, what it leaves behind, and what ends it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.json import dumps, loads
from batchd.core.model import Answer, Load, Loaded, Source
from batchd.core.request import Endpoint, Message, Request
from batchd.edges.llamacpp import LlamaServer
from batchd.edges.llamacpp_child import (
    COMMAND,
    REASON_LINES,
    ChildSettings,
    LlamaChild,
    has_pooling,
    start_child,
)
from batchd.edges.sockets import held_by

#: Where a test stands in for the engine: reads the settings and does as the text says.
PREFACE = "import os, sys, time; settings = sys.stdin.readline(); "
LISTENS = 'print(\'{"address": "http://127.0.0.1:1"}\', flush=True); '
WAITS = "sys.stdin.read()"

SETTINGS = ChildSettings(gguf="/m.gguf", slots=2, window_tokens=512, key="the-key")

#: More than the process needs besides the model, less than with a KV cache of 1.4 GB.
ADDRESS_SPACE_BYTES = 1_500_000_000


def stand_in(text: str) -> LlamaChild:
    return LlamaChild(SETTINGS, (sys.executable, "-c", PREFACE + text))


async def test_a_child_that_listens_has_its_address_and_ends_when_asked() -> None:
    child = stand_in(LISTENS + WAITS)
    await child.start(20)
    assert (child.address, child.key, child.exit_code()) == ("http://127.0.0.1:1", "the-key", None)
    assert "http://127.0.0.1:1" in repr(child)
    await child.stop()
    assert child.exit_code() == 0
    await child.stop()


async def test_the_settings_go_through_standard_input_and_not_the_command_line() -> None:
    child = stand_in("sys.stderr.write(settings); " + LISTENS + WAITS)
    await child.start(20)
    assert b"the-key" not in Path(f"/proc/{child.pid}/cmdline").read_bytes()
    await child.stop()
    told = loads(child.exit_reason().split("\n")[1].encode())
    assert told == {
        "gguf": "/m.gguf",
        "slots": 2,
        "window_tokens": 512,
        "snapshots_in": "",
        "key": "the-key",
        "is_embedding": False,
        "cache_ram_mib": 0,
        "threads": -1,
    }


async def test_a_child_that_ends_instead_leaves_its_status_and_last_words() -> None:
    child = stand_in("sys.stderr.write('first\\nlast\\n'); sys.exit(3)")
    await child.start(20)
    assert (child.address, child.exit_code()) == ("", 3)
    assert child.exit_reason() == "ended with status 3\nfirst\nlast"


async def test_a_loud_child_is_not_blocked_and_only_its_last_lines_are_kept() -> None:
    loud = "[sys.stderr.write(f'line {n}\\n') for n in range(40_000)]; sys.stderr.flush(); "
    child = stand_in(loud + LISTENS + WAITS)
    await child.start(20)
    await child.stop()
    lines = child.exit_reason().split("\n")
    assert lines[-1] == "line 39999"
    assert len(lines) == 1 + REASON_LINES


async def test_a_child_that_is_not_ready_in_time_is_ended() -> None:
    child = stand_in("time.sleep(60)")
    with pytest.raises(TimeoutError):
        await child.start(0.3)
    assert child.exit_code() == -signal.SIGKILL


async def test_a_cancelled_start_leaves_no_child() -> None:
    child = stand_in("time.sleep(60)")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await child.start(60)
    assert child.exit_code() == -signal.SIGKILL


async def test_a_child_that_does_not_listen_to_us_is_killed() -> None:
    child = stand_in(LISTENS + "time.sleep(60)")
    await child.start(20)
    await child.stop(timeout_s=0.1)
    assert child.exit_code() == -signal.SIGKILL
    assert child.exit_reason().startswith("ended by SIGKILL")


async def test_a_child_inherits_neither_descriptors_nor_systemds_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(lock, True)
    shows = "sys.stderr.write(' '.join(os.environ) + '\\n'); " + LISTENS + WAITS
    child = stand_in(shows)
    await child.start(20)
    held = [str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()]
    await child.stop()
    os.close(lock)
    names = child.exit_reason().split("\n")[1].split(" ")
    assert "PATH" in names
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(names)
    assert not [path for path in held if path.endswith("/lock")]


def test_without_the_extra_the_child_says_how_to_get_it() -> None:
    blocked = "import sys; sys.modules['xllamacpp'] = None; from batchd.edges.llamacpp_child import main; "
    command = [sys.executable, "-c", blocked + "sys.exit(main())"]
    ended = subprocess.run(command, input=b"{}\n", capture_output=True, timeout=30, check=False)
    assert ended.returncode == 69
    assert b"pip install 'batchd[embedded]'" in ended.stderr


def test_without_settings_the_child_ends() -> None:
    ended = subprocess.run(COMMAND, input=b"", capture_output=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"")


def test_the_models_own_pooling_is_found_in_its_metadata(tmp_path: Path) -> None:
    own, none = tmp_path / "own.gguf", tmp_path / "none.gguf"
    own.write_bytes(b"GGUF\x03....bert.pooling_type\x04")
    none.write_bytes(b"GGUF\x03....llama.context_length\x04")
    assert (has_pooling(str(own)), has_pooling(str(none))) == (True, False)


#: The cores are shared with other tests, and the engine's threads spin.
start_one_thread = partial(start_child, threads=1)


def chat(text: str, bound: int = 4) -> Request:
    messages = (Message("system", "Answer briefly. " * 20), Message("user", text))
    return Request("a", Endpoint.CHAT, "small", messages, (), {"temperature": 0.0}, bound)


def embedded(gguf: Path) -> LlamaServer:
    return LlamaServer(models={"small": gguf}, start_child=start_one_thread, sockets_of=held_by)


def is_running(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def has_gone(pid: int) -> bool:
    for _ in range(500):
        if not is_running(pid):
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.embedded
async def test_a_shared_prefix_is_read_once_in_a_slot_and_again_in_another(small_model: Path) -> None:
    server = embedded(small_model)
    assert isinstance(await server.load(Load("small", 1024, 2), 50), Loaded)
    first = await server.answer(chat("one"), 0, 50)
    second = await server.answer(chat("two"), 0, 50)
    other = await server.answer(chat("three"), 1, 50)
    counted = await server.count_tokens(chat("two"))
    await server.close()
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert isinstance(other, Answer)
    assert first.usage.cached_tokens == 0
    assert second.usage.prompt_tokens == counted
    assert second.usage.cached_source is Source.ENGINE
    assert second.usage.cached_tokens is not None
    assert 60 < second.usage.cached_tokens < second.usage.prompt_tokens
    assert other.usage.cached_tokens == 0


@pytest.mark.embedded
async def test_a_prompt_or_an_answer_beyond_the_window_is_refused_with_both_numbers(
    small_model: Path,
) -> None:
    server = embedded(small_model)
    await server.load(Load("small", 256, 1), 50)
    prompt = await server.answer(chat("word " * 600), 0, 50)
    long_winded = Message("user", "Count: " + ", ".join(map(str, range(60))))
    request = Request("a", Endpoint.CHAT, "small", (long_winded,), (), {"temperature": 0.0}, 2_000)
    answer = await server.answer(request, 0, 50)
    await server.close()
    for fault in (prompt, answer):
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.window_tokens) == (Category.CONTEXT_LENGTH, 256)
    assert isinstance(prompt, ModelFault)
    assert prompt.prompt_tokens is not None
    assert prompt.prompt_tokens > 600


@pytest.mark.embedded
async def test_a_killed_child_is_a_crash_and_a_load_brings_the_model_back(small_model: Path) -> None:
    children: list[LlamaChild] = []

    async def remember(gguf: Path, load: Load, timeout_s: float) -> LlamaChild:
        children.append(await start_one_thread(gguf, load, timeout_s))
        return children[-1]

    server = LlamaServer(any_gguf=small_model, start_child=remember)
    await server.load(Load("small", 512, 2), 50)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.answer(chat("Tell a tale.", 300), n, 50)) for n in (0, 1)]
        await asyncio.sleep(0.2)
        children[0].kill()
    for task in tasks:
        fault = task.result()
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.CRASH, True, True)
    assert isinstance(await server.load(Load("small", 512, 2), 50), Loaded)
    assert isinstance(await server.answer(chat("hi"), 0, 50), Answer)
    await server.close()
    assert [child.exit_code() for child in children] == [-signal.SIGKILL, 0]


@pytest.mark.embedded
async def test_a_load_that_cannot_be_allocated_is_out_of_memory(small_model: Path) -> None:
    limited = ("prlimit", f"--as={ADDRESS_SPACE_BYTES}", *COMMAND)
    server = LlamaServer(any_gguf=small_model, start_child=partial(start_child, command=limited, threads=1))
    fault = await server.load(Load("small", 8192, 8), 50)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary) == (Category.OOM, True)
    assert "failed to allocate" in fault.message
    assert isinstance(await server.load(Load("small", 512, 1), 50), Loaded)
    await server.close()


@pytest.mark.embedded
async def test_a_file_that_is_no_model_must_be_mended_by_a_person(small_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model at all")
    server = embedded(broken)
    fault = await server.load(Load("small", 512, 1), 50)
    await server.close()
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.needs_operator) == (Category.MODEL, True)


@pytest.mark.embedded
async def test_a_model_without_a_pooling_type_embeds_all_the_same(small_model: Path) -> None:
    server = embedded(small_model)
    await server.load(Load("small", 512, 2, is_embedding=True), 50)
    request = Request("a", Endpoint.EMBEDDINGS, "small", (), ("one text", "another"), {}, 0)
    answer = await server.answer(request, 0, 50)
    long = Request("a", Endpoint.EMBEDDINGS, "small", (), ("word " * 900,), {}, 0)
    fault = await server.answer(long, 0, 50)
    await server.close()
    assert isinstance(answer, Answer)
    assert [len(vector) for vector in answer.embeddings] == [576, 576]
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.window_tokens) == (Category.CONTEXT_LENGTH, 512)


@pytest.mark.embedded
async def test_systemds_signal_to_all_processes_leaves_the_child_to_its_parent(small_model: Path) -> None:
    child = await start_one_thread(small_model, Load("small", 512, 1), 50)
    os.kill(child.pid, signal.SIGTERM)
    await asyncio.sleep(0.2)
    assert child.exit_code() is None
    await child.stop()
    assert child.exit_code() == 0


def start_parent(script: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)


@pytest.mark.embedded
@pytest.mark.parametrize("who_holds_the_pipe", ["nobody", "another"])
async def test_the_child_dies_with_a_killed_parent(small_model: Path, who_holds_the_pipe: str) -> None:
    """With another holding its standard input open, as while it loads, the kernel's signal must do."""
    script = f"""
        import asyncio, subprocess
        from pathlib import Path
        from batchd.core.model import Load
        from batchd.edges.llamacpp_child import start_child

        async def main():
            child = await start_child(Path({str(small_model)!r}), Load("m", 512, 1), 50, threads=1)
            pipe = child._process.stdin.fileno()
            held = (pipe,) if {who_holds_the_pipe == "another"} else ()
            other = subprocess.Popen(["sleep", "60"], pass_fds=held, stdout=subprocess.DEVNULL)
            print(child.pid, other.pid, flush=True)
            await asyncio.sleep(50)

        asyncio.run(main())
    """
    parent = start_parent(textwrap.dedent(script))
    assert parent.stdout is not None
    child_pid, other_pid = map(int, (await asyncio.to_thread(parent.stdout.readline)).split())
    try:
        assert is_running(child_pid)
        parent.kill()
        parent.wait()
        assert await has_gone(child_pid)
    finally:
        os.kill(other_pid, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.embedded
def test_the_real_child_speaks_one_line_of_json(small_model: Path) -> None:
    """The engine prints to standard output now and then; it must not stand in the answer."""
    settings = {"gguf": str(small_model), "slots": 1, "window_tokens": 256, "key": "k"}
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = process.communicate(dumps(settings) + b"\n", timeout=50)
    assert process.returncode == 0
    answer = loads(out)
    assert isinstance(answer, dict)
    assert str(answer["address"]).startswith("http://127.0.0.1:")
