"""The survey of an Ollama's models: kinds, sizes, and who is resident; nothing is loaded."""

from batchd.core.fault import Category, ModelFault
from batchd.edges.ollama.survey import _is_sliding, survey
from tests.simulator.child import ChildSimulator


async def test_every_model_is_listed_and_none_is_loaded() -> None:
    with ChildSimulator() as server:
        found = await survey(server.address, 10.0)
        again = await survey(server.address, 10.0)
    assert not isinstance(found, ModelFault)
    by_name = {model.name: model for model in found}
    assert by_name["smollm2:135m"].family == "llama"
    assert not any(model.is_resident for model in found)
    assert found == again


async def test_a_server_that_is_not_there_is_a_fault() -> None:
    found = await survey("http://127.0.0.1:9", 5.0)
    assert isinstance(found, ModelFault)
    assert found.category is Category.NETWORK


def test_a_sliding_window_is_in_the_metadata() -> None:
    assert _is_sliding({"gemma3.attention.sliding_window": 512})
    assert not _is_sliding({"llama.attention.sliding_window": 0, "llama.context_length": 8_192})
    assert not _is_sliding(None)
