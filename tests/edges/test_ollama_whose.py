"""An attached server of this machine: as whom it runs is told, and any other is sent nothing."""

import os
from collections.abc import Sequence

import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription
from batchd.edges.ollama import OllamaServer
from batchd.edges.sockets import Whose, user_name
from tests.contract.test_model_server_contract import RealClock, chat
from tests.simulator import Simulator

LOAD = Load("smollm2:135m", 1024, 1)
ME = user_name(os.geteuid())


class Scripted:
    """What is seen at each look, the last of them for ever."""

    def __init__(self, *looks: frozenset[int]) -> None:
        self._looks = list(looks)

    async def look(self) -> frozenset[int] | ModelFault:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    async def users(self) -> Sequence[str]:
        return []


async def test_it_says_as_whom_the_server_runs() -> None:
    async with Simulator() as simulator:
        for user in (None, ME):
            server = OllamaServer(
                simulator.address, "attach", RealClock(), whose=Whose(simulator.address, user)
            )
            described = await server.describe(5)
            assert isinstance(described, ServerDescription)
            assert described.users == (ME,)
            assert isinstance(await server.load(LOAD, 5), Loaded)
            assert isinstance(await server.answer(chat(LOAD.model, "hello"), 0, 5), Answer)
            await server.close()


async def test_a_server_of_another_user_is_sent_nothing() -> None:
    async with Simulator() as simulator:
        server = OllamaServer(
            simulator.address, "attach", RealClock(), whose=Whose(simulator.address, "somebody")
        )
        for fault in (await server.describe(5), await server.load(LOAD, 5)):
            assert isinstance(fault, ModelFault)
            assert (fault.category, fault.is_temporary, fault.needs_operator) == (
                Category.NETWORK,
                True,
                True,
            )
            assert f"a server of user {ME}, and ollama.user is 'somebody'" in fault.message
        assert not simulator.seen
        assert simulator.counts.loads == 0
        await server.close()


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        ((frozenset({1}), frozenset({2})), "took the port"),
        ((frozenset[int](), frozenset({2})), "took the port"),
        ((frozenset[int](),), "cannot be seen"),
    ],
)
async def test_who_took_the_connection_listened_before_and_after_it(
    looks: tuple[frozenset[int], ...], words: str
) -> None:
    """A stranger who gives the port back at the right moment would else look like the one who has it then."""
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock(), whose=Scripted(*looks))
        fault = await server.describe(5)
        assert isinstance(fault, ModelFault)
        assert words in fault.message
        assert fault.is_server_lost
        await server.close()


async def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    address = "http://127.0.0.1:9"
    server = OllamaServer(address, "attach", RealClock(), whose=Whose(address, "somebody"))
    fault = await server.describe(5)
    assert isinstance(fault, ModelFault)
    assert not fault.needs_operator
    await server.close()
