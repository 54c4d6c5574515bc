import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchd.app.late import with_late_usage
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription, Source
from batchd.edges.ollama import OllamaServer
from batchd.edges.ollama_server import OwnOllama, choose_mode, find_mode
from batchd.edges.ollama_server.child import _BECOME, spawn
from batchd.edges.ollama_server.mode import is_answering
from batchd.edges.sockets import Held, held_by
from batchd.errors import ConfigError
from tests.contract.test_model_server_contract import RealClock, chat
from tests.simulator import Simulator
from tests.simulator.child import write_binary

PATH = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[OwnOllama]:
    own = OwnOllama(str(write_binary(tmp_path)), 2, PATH, RealClock(), held_by, models="/models")
    yield own
    await own.stop()


class OneLook:
    """A socket that is there until it was seen to be."""

    def __init__(self, held: Held) -> None:
        self.address = held.address
        self._held, self._looks = held, 1

    def is_there(self) -> bool:
        self._looks -= 1
        return self._looks >= 0 and self._held.is_there()

    async def look(self) -> frozenset[int] | ModelFault:
        return await self._held.look()


def address_of(address: str | ModelFault) -> str:
    assert isinstance(address, str), address
    return address


@pytest.mark.parametrize(
    ("answers", "is_local", "has_unit", "has_binary", "mode"),
    [
        (True, True, True, True, "attach"),
        (True, False, False, False, "attach"),
        (False, True, True, True, "attach"),  # its service will come, or is stopped on purpose
        (False, True, False, True, "own"),
        (False, True, False, False, "attach"),
        (False, False, False, True, "attach"),
    ],
)
def test_an_own_server_comes_last(
    answers: bool, is_local: bool, has_unit: bool, has_binary: bool, mode: str
) -> None:
    assert choose_mode(answers, is_local, has_unit, has_binary) == mode


async def test_auto_attaches_to_a_server_that_answers(tmp_path: Path) -> None:
    async with Simulator() as simulator:
        binary = str(write_binary(tmp_path))
        assert await find_mode("auto", simulator.address, binary, ()) == "attach"


async def test_auto_never_starts_a_second_server_beside_an_installed_service(tmp_path: Path) -> None:
    (tmp_path / "ollama.service").touch()
    binary = str(write_binary(tmp_path))
    assert await find_mode("auto", "127.0.0.1:9", binary, (tmp_path,)) == "attach"


async def test_auto_owns_where_no_service_is_installed(tmp_path: Path) -> None:
    assert await find_mode("auto", "127.0.0.1:9", str(write_binary(tmp_path)), (tmp_path,)) == "own"


async def test_auto_attaches_where_nothing_can_be_started(tmp_path: Path) -> None:
    assert await find_mode("auto", "127.0.0.1:9", None, (tmp_path,)) == "attach"


async def test_own_without_a_program_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError):
        await find_mode("own", "127.0.0.1:9", "/nowhere/ollama", ())
    assert await find_mode("attach", "127.0.0.1:9", None, ()) == "attach"


async def test_it_starts_answers_and_ends(own: OwnOllama) -> None:
    address = address_of(await own.ensure())
    assert await is_answering(address)
    assert await own.ensure() == address
    await own.stop()
    assert not await is_answering(address)


def test_its_environment_is_what_batch_work_wants(tmp_path: Path) -> None:
    own = OwnOllama("ollama", 3, {"OLLAMA_KEEP_ALIVE": "1m", "HOME": "/h"}, RealClock(), held_by, "/models")
    assert own.child_environment() == {
        "HOME": "/h",
        "OLLAMA_HOST": "127.0.0.1:0",
        "OLLAMA_NUM_PARALLEL": "3",
        "OLLAMA_MAX_LOADED_MODELS": "1",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NO_CLOUD": "1",
        "LLAMA_ARG_CACHE_RAM": "0",
        "OLLAMA_MODELS": "/models",
    }


async def test_other_slots_are_another_server(own: OwnOllama) -> None:
    server = OllamaServer("", "own", RealClock(), own=own)
    described = await server.describe(5)
    assert isinstance(described, ServerDescription)
    sizes = []
    for slots in (4, 1):
        loaded = await server.load(Load("smollm2:135m", 2048, slots), 10)
        assert isinstance(loaded, Loaded)
        assert loaded.slots == slots
        sizes.append(loaded.size_bytes or 0)
    await server.close()
    assert sizes[0] > sizes[1]


async def test_what_an_answer_does_not_say_is_read_in_the_log(own: OwnOllama) -> None:
    server = OllamaServer("", "own", RealClock(), own=own)
    assert isinstance(await server.load(Load("smollm2:135m", 2048, 2), 10), Loaded)
    shared = "Judge this package by the same long rubric as all the others. " * 20
    usages = []
    for record in ("curl", "rsync"):
        answer = await server.answer(chat("smollm2:135m", shared + record), 0, 10)
        assert isinstance(answer, Answer)
        usages.append((await with_late_usage(answer)).usage)
    await server.close()
    cold, warm = usages
    assert (cold.cached_source, cold.cached_tokens) == (Source.LOG, 0)
    assert warm.cached_source is Source.LOG
    read = [one.evaluated_tokens for one in (cold, warm)]
    assert read[0] is not None
    assert read[1] is not None
    assert 0 < read[1] < read[0] / 10


async def test_slots_that_a_model_does_not_get_are_read_in_the_log(tmp_path: Path) -> None:
    own = OwnOllama(str(write_binary(tmp_path, slots=1)), 4, PATH, RealClock(), held_by)
    server = OllamaServer("", "own", RealClock(), own=own)
    loaded = await server.load(Load("smollm2:135m", 2048, 4), 10)
    await server.close()
    assert isinstance(loaded, Loaded)
    assert loaded.slots == 1


async def test_a_server_that_died_is_started_again(own: OwnOllama) -> None:
    first = address_of(await own.ensure())
    os.kill(_pid_at(first), signal.SIGKILL)
    async with asyncio.timeout(10):
        while "not running" not in repr(own):  # noqa: ASYNC110 - the kernel rings no bell
            await asyncio.sleep(0.01)
    assert await is_answering(address_of(await own.ensure()))


async def test_whoever_takes_the_port_of_a_dead_one_is_sent_nothing(own: OwnOllama) -> None:
    """Any user of the machine can: it would get the prompts, and give the answers."""
    server = OllamaServer("", "own", RealClock(), own=own)
    assert isinstance(await server.load(Load("smollm2:135m", 2048, 2), 10), Loaded)
    address = address_of(await own.ensure())
    pid = _pid_at(address)
    os.kill(pid, signal.SIGKILL)
    await _wait_until_gone(pid)
    got: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", int(address.rpartition(":")[2])):
        async with asyncio.timeout(20):
            for _ in range(3):  # whatever of the old connections is noticed first
                fault = await server.answer(chat("smollm2:135m", "a secret"), 0, 10)
                assert isinstance(fault, ModelFault)
                assert fault.is_server_lost
        described = await server.describe(5)
        assert isinstance(described, ServerDescription)
        assert described.address != address
        await server.close()
    assert not any(got)


async def test_a_program_behind_a_script_of_its_own_is_ours_too(tmp_path: Path) -> None:
    inner = write_binary(tmp_path)
    outer = tmp_path / "wrapper"
    outer.write_text(f'#!/bin/sh\n{inner} "$@" &\nwait\n')
    outer.chmod(0o755)
    own = OwnOllama(str(outer), 1, PATH, RealClock(), held_by)
    assert await is_answering(address_of(await own.ensure()))
    await own.stop()


async def test_one_that_stops_listening_is_started_again(tmp_path: Path) -> None:
    own = OwnOllama(
        str(write_binary(tmp_path)), 1, PATH, RealClock(), lambda pid: list(map(OneLook, held_by(pid)))
    )
    first = address_of(await own.ensure())
    second = address_of(await own.ensure())
    await own.stop()
    assert first != second


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network of its own with two ports")
def test_no_free_port_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    binary = write_binary(tmp_path)
    code = (
        "import asyncio, fcntl, socket, struct, sys\n"
        "from pathlib import Path\n"
        "from batchd.edges.ollama_server import OwnOllama\n"
        "from batchd.edges.sockets import held_by\n"
        "from tests.contract.test_model_server_contract import RealClock\n"
        "probe = socket.socket()\n"
        "fcntl.ioctl(probe, 0x8914, struct.pack('16sH14x', b'lo', 1))\n"  # up
        "Path('/proc/sys/net/ipv4/ip_local_port_range').write_text('40000 40001')\n"
        "taken = [socket.create_server(('127.0.0.1', port)) for port in (40000, 40001)]\n"
        "own = OwnOllama(sys.argv[1], 1, {'PATH': '/usr/bin:/bin'}, RealClock(), held_by)\n"
        "print(asyncio.run(own.ensure()).is_temporary)\n"
    )
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", code, str(binary)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


async def test_one_that_does_not_come_up_is_a_fault_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "ollama"
    script.write_text("#!/bin/sh\necho no usable driver here >&2\nexit 3\n")
    script.chmod(0o755)
    fault = await OwnOllama(str(script), 1, PATH, RealClock(), held_by).ensure()
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary) == (Category.SERVER, True)
    assert "no usable driver here" in fault.message


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (None, 0, "No such file"),
        (b"#!/bin/sh\n", 0o644, "Permission denied"),
        (b"\0no program", 0o755, "Exec format error"),
    ],
    ids=["absent", "not executable", "not a program"],
)
async def test_a_program_that_cannot_be_started_is_a_wrong_setting(
    tmp_path: Path, content: bytes | None, mode: int, why: str
) -> None:
    program = tmp_path / "ollama"
    if content is not None:
        program.write_bytes(content)
        program.chmod(mode)
    with pytest.raises(ConfigError, match=why):
        await OwnOllama(str(program), 1, PATH, RealClock(), held_by).ensure()


async def test_the_kernel_ends_the_program_itself_in_a_group_of_its_own_and_not_one_before_it(
    tmp_path: Path,
) -> None:
    """The process that was started becomes the program: number, group and arguments are its own."""
    script = tmp_path / "ollama"
    script.write_text("#!/bin/sh\necho $$ $0 $* $(ps -o pgid= -p $$)\nexit 3\n")
    script.chmod(0o755)
    lines: list[str] = []
    child = await spawn("ollama", {"PATH": f"{tmp_path}:/usr/bin:/bin"}, lines.append)
    assert await child.wait(20)
    child.close()
    assert lines == [f"{child.pid} {script} serve {child.pid}"]
    assert not child.was_refused


def test_a_child_whose_parent_is_gone_already_does_not_become_the_program() -> None:
    command = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getppid()), "/bin/echo", "here"]
    assert subprocess.run(command, capture_output=True, timeout=20, check=True).stdout == b""


async def test_what_its_death_leaves_behind_is_killed_too(tmp_path: Path) -> None:
    """A runner that outlives its server would hold the GPU's memory."""
    script = tmp_path / "ollama"
    script.write_text("#!/bin/sh\nsleep 300 & echo runner $!\nexit 1\n")
    script.chmod(0o755)
    fault = await OwnOllama(str(script), 1, PATH, RealClock(), held_by).ensure()
    assert isinstance(fault, ModelFault)
    runner = int(fault.message.split("runner ")[1].split()[0])
    await _wait_until_gone(runner)


def test_it_ends_when_our_process_is_killed(tmp_path: Path) -> None:
    binary = write_binary(tmp_path)
    code = (
        "import asyncio, sys\n"
        "from batchd.edges.ollama_server import OwnOllama\n"
        "from batchd.edges.sockets import held_by\n"
        "from tests.contract.test_model_server_contract import RealClock\n"
        "async def main():\n"
        "    own = OwnOllama(sys.argv[1], 1, {'PATH': '/usr/bin:/bin'}, RealClock(), held_by)\n"
        "    print(await own.ensure(), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(binary)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        server = _pid_at(parent.stdout.readline().strip())
        parent.kill()
        parent.wait(10)
    asyncio.run(_wait_until_gone(server))


async def _wait_until_gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while _is_alive(pid):  # noqa: ASYNC110 - the kernel rings no bell
            await asyncio.sleep(0.01)


def _is_alive(pid: int) -> bool:
    """Not a zombie either: in a container nobody may collect orphans."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _pid_at(address: str) -> int:
    """The process that listens at this address: of those that we started, whoever holds the socket."""
    for entry in Path("/proc").glob("[0-9]*"):
        if address in [held.address for held in held_by(int(entry.name))] and b"serve" in _words(entry):
            return int(entry.name)
    raise AssertionError(f"nobody listens at {address}")


def _words(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
