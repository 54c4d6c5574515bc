import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, Source, Usage
from batchd.core.parameters import TRANSLATED
from batchd.core.request import Endpoint, Message, Request
from batchd.edges.ollama import TRANSLATES, OllamaServer, classify
from batchd.edges.ollama.listing import read_loaded
from batchd.edges.ollama.resident import Resident, Terms, terms_for
from batchd.edges.ollama.wire import AT_WORK, Model, is_remote_name, read_answer, read_model, request_call
from tests.contract.test_model_server_contract import RealClock, answer_or_fail, chat, loaded_or_fail
from tests.simulator import ModelSpec, Settings, Simulator, tag_of

MODEL = "smollm2:135m"
LOAD = Load(MODEL, 1024, 2)

PLAIN = Model("llama", "134.52M", "Q4_1", 8192, frozenset({"completion"}), is_remote=False)
THINKING = Model("qwen3", "751.63M", "Q4_K_M", 40_960, frozenset({"completion", "thinking"}), is_remote=False)
GPT_OSS = replace(THINKING, family="gptoss")

NETWORK = Category.NETWORK
CRASH, OOM, SERVER, VALIDATION = Category.CRASH, Category.OOM, Category.SERVER, Category.VALIDATION
TOO_LONG, MISSING, TIMEOUT = Category.CONTEXT_LENGTH, Category.MODEL, Category.TIMEOUT

#: status, text, category, is_temporary, is_server_lost
TEXTS: list[tuple[int, str, Category, bool, bool]] = [
    (400, "missing request body", VALIDATION, False, False),
    (400, "json: cannot unmarshal array into Go struct field ChatRequest.messages", VALIDATION, False, False),
    (400, "top_logprobs must be between 0 and 20", VALIDATION, False, False),
    (400, "model is required", MISSING, False, False),
    (400, "invalid model name", MISSING, False, False),
    (500, 'option "num_ctx" must be of type integer', VALIDATION, False, False),
    (
        500,
        'invalid format: "out of memory"; expected "json" or a valid JSON Schema',
        VALIDATION,
        False,
        False,
    ),
    (400, '"m" does not support chat', VALIDATION, False, False),
    (400, '"m" does not support thinking', VALIDATION, False, False),
    (400, "registry/library/m does not support tools", VALIDATION, False, False),
    (501, "This server does not support embeddings. Start it with `--embeddings`", MISSING, False, False),
    (
        400,
        '{"error":{"message":"schema: out of memory","type":"invalid_request_error"}}',
        VALIDATION,
        False,
        False,
    ),
    (400, "the prompt is longer than the context length currently available", TOO_LONG, False, False),
    (400, "the input length exceeds the context length", TOO_LONG, False, False),
    (403, "", MISSING, True, True),
    (404, "model 'm' not found", MISSING, False, False),
    (404, 'model "m" not found, try pulling it first', MISSING, False, False),
    (404, "404 page not found", SERVER, True, False),
    (499, "request canceled", SERVER, True, False),
    (500, "error starting llama-server: fork/exec: no such file", SERVER, True, False),
    (500, "llama-server binary not found (checked: /usr/lib)", SERVER, True, False),
    (500, "llama-server process has terminated: exit status 1: insufficient memory", OOM, True, True),
    (500, "llama-server process has terminated: signal: killed", CRASH, True, True),
    (500, "llama-server process no longer running: -1 ", CRASH, True, True),
    (500, "llama-server reported out-of-memory during startup: x", OOM, True, True),
    (500, "timed out waiting for llama-server to start - loading", TIMEOUT, True, True),
    (500, "x: this model may be incompatible with your version of Ollama.", MISSING, True, True),
    (500, "unable to load full model on GPU", OOM, True, True),
    (500, "model requires 9.1 GiB but only 4.0 GiB are available (after 1 GiB overhead)", OOM, True, True),
    (
        500,
        "model runner has unexpectedly stopped, this may be due to resource limitations",
        CRASH,
        True,
        True,
    ),
    (500, "an error was encountered while running the model: unexpected EOF", CRASH, True, True),
    (500, "an error was encountered while running the model: CUDA error: out of memory", OOM, True, True),
    (500, "error reading llama-server chat response: read tcp: connection reset by peer", CRASH, True, True),
    (500, "llama-server stream event exceeded 8 MB limit", SERVER, True, False),
    (500, "unexpected server status: llm server loading model", NETWORK, True, False),
    (500, "server not responding", CRASH, True, True),
    (500, "dial tcp 127.0.0.1:1: connect: connection refused", CRASH, True, True),
    (500, 'health resp: Get "http://127.0.0.1:1/health"', CRASH, True, True),
    (500, "no slots available after 10 retries", NETWORK, True, False),
    (500, "prediction aborted, token repeat limit reached", Category.RUNAWAY, True, False),
    (503, "server busy, please try again.  maximum pending requests exceeded", NETWORK, True, False),
    (503, "Loading model", NETWORK, True, False),
    (400, 'do embedding request: Post "http://127.0.0.1:1/embedding": EOF', CRASH, True, True),
    (500, "model requires more system memory (9 GiB) than is available (4 GiB)", OOM, True, True),
    (500, "memory layout cannot be allocated with num_gpu = 99", OOM, True, True),
    (500, "failed to allocate memory for model", OOM, True, True),
    (500, "llama runner process has terminated: exit status 2", CRASH, True, True),
    (500, "llama runner process no longer running: 2 ", CRASH, True, True),
    (500, "timed out waiting for llama runner to start - progress 0.00 - ", TIMEOUT, True, True),
    (500, "model failed to load, this may be due to resource limitations", CRASH, True, True),
    (502, "Bad Gateway", NETWORK, True, False),
    (503, "a text that nobody has seen yet", NETWORK, True, False),
    (504, "", NETWORK, True, False),
    (500, "a text that nobody has seen yet", SERVER, True, False),
    (400, "a text that nobody has seen yet", VALIDATION, False, False),
]


@pytest.mark.parametrize(("status", "text", "category", "is_temporary", "is_lost"), TEXTS)
def test_each_known_text_has_its_fault(
    status: int, text: str, category: Category, is_temporary: bool, is_lost: bool
) -> None:
    fault = classify(status, text)
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (category, is_temporary, is_lost)
    assert fault.message


@pytest.mark.parametrize(
    ("status", "text", "is_crowded"),
    [
        (429, "too many concurrent requests", True),
        (429, "", True),
        (503, "server busy, please try again.  maximum pending requests exceeded", True),
        (502, "<html><title>502 Bad Gateway</title>connection refused</html>", False),
        (503, "<html>503 Service Temporarily Unavailable</html>", False),
        (504, "<html><title>504 Gateway Time-out</title>out of memory</html>", False),
    ],
)
def test_who_refuses_for_now_is_busy_or_a_gateway(status: int, text: str, is_crowded: bool) -> None:
    fault = classify(status, text)
    assert (fault.category, fault.is_server_lost, fault.is_crowded) == (NETWORK, False, is_crowded)
    assert ("gateway" in fault.message) is not is_crowded
    assert "<" not in fault.message


@pytest.mark.parametrize(("status", "text"), [(500, "x may be incompatible with your version"), (401, "no")])
def test_what_only_a_person_can_mend_is_no_requests_fault(status: int, text: str) -> None:
    assert classify(status, text).needs_operator


@pytest.mark.parametrize(
    "word",
    [
        "out of device memory",
        "cudaMalloc failed",
        "hipMalloc failed",
        "failed to allocate",
        "allocation failed",
        "not enough memory",
        "insufficient memory",
        "VK_ERROR_OUT_OF_DEVICE_MEMORY",
        "ErrorOutOfMemory",
    ],
)
def test_every_word_of_ollamas_own_list_means_memory(word: str) -> None:
    assert classify(500, f"model runner has unexpectedly stopped: {word} x").category is Category.OOM


@pytest.mark.parametrize(
    ("text", "prompt", "window"),
    [
        (
            '{"error":{"code":400,"message":"request (6020 tokens) exceeds the available context size '
            '(4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":6020,'
            '"n_ctx":4096}}',
            6020,
            4096,
        ),
        ("input length (900 tokens) exceeds the model's maximum context length (512 tokens)", 900, 512),
        ("the input length exceeds the context length", None, None),
    ],
)
def test_an_overflow_keeps_the_numbers_that_it_was_given(
    text: str, prompt: int | None, window: int | None
) -> None:
    fault = classify(400, text)
    assert (fault.code, fault.prompt_tokens, fault.window_tokens) == (
        "context_length_exceeded",
        prompt,
        window,
    )
    assert not fault.message.startswith("{")


def test_a_missing_model_says_what_to_type() -> None:
    fault = classify(404, "model 'qwen3:8b' not found")
    assert fault.code == "model_not_found"
    assert "ollama pull qwen3:8b" in fault.message


def test_a_very_long_text_is_cut() -> None:
    assert len(classify(500, "x" * 100_000).message) == 2_000


def test_every_neutral_parameter_can_be_said_to_ollama() -> None:
    assert TRANSLATES == TRANSLATED


def body_of(request: Request, model: Model = PLAIN) -> Mapping[str, Any]:
    call = request_call(request, MODEL, 1024, model)
    assert not isinstance(call, ModelFault), call
    return call[1]


def test_parameters_become_options_and_unset_ones_stay_unset() -> None:
    request = chat(
        MODEL, "hi", bound=9, temperature=0.5, top_p=0.9, seed=7, stop=("a", "b"), presence_penalty=1.0
    )
    assert body_of(request)["options"] == {
        "num_ctx": 1024,
        "num_predict": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["a", "b"],
        "presence_penalty": 1.0,
    }


def test_a_bound_of_nothing_is_one_token_and_not_no_bound() -> None:
    assert body_of(chat(MODEL, "hi", bound=0))["options"]["num_predict"] == 1


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "schema": {"type": "object"}}, {"type": "object"}),
    ],
)
def test_a_response_format_becomes_a_format(form: object, said: object) -> None:
    assert body_of(chat(MODEL, "hi", response_format=form))["format"] == said
    assert "format" not in body_of(chat(MODEL, "hi"))


@pytest.mark.parametrize(
    ("model", "effort", "said"),
    [
        (PLAIN, None, {}),
        (PLAIN, "none", {}),
        (PLAIN, "low", {"think": "low"}),
        (THINKING, None, {"think": False}),
        (THINKING, "none", {"think": False}),
        (THINKING, "minimal", {"think": "low"}),
        (THINKING, "high", {"think": "high"}),
        (THINKING, "xhigh", {"think": "max"}),
        (GPT_OSS, None, {"think": "low"}),
        (GPT_OSS, "medium", {"think": "medium"}),
    ],
)
def test_thinking_is_off_unless_asked_for(model: Model, effort: str | None, said: dict[str, object]) -> None:
    request = chat(MODEL, "hi") if effort is None else chat(MODEL, "hi", reasoning_effort=effort)
    assert {name: value for name, value in body_of(request, model).items() if name == "think"} == said


def test_a_model_that_always_thinks_refuses_not_to() -> None:
    fault = request_call(chat(MODEL, "hi", reasoning_effort="none"), MODEL, 1024, GPT_OSS)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary) == (Category.VALIDATION, False)


@pytest.mark.parametrize(
    "request_",
    [replace(chat(MODEL, "hi"), messages=()), Request("a", Endpoint.COMPLETIONS, MODEL, (), ("",), {}, 8)],
    ids=["no messages", "empty prompt"],
)
def test_what_ollama_would_take_for_a_load_is_refused(request_: Request) -> None:
    assert isinstance(request_call(request_, MODEL, 1024, PLAIN), ModelFault)


DONE: dict[str, object] = {
    "message": {"role": "assistant", "content": "hi", "thinking": "hm"},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 20,
    "prompt_eval_duration": 500_000_000,
    "eval_count": 2,
    "eval_duration": 100_000_000,
}


def test_an_answer_is_read_with_its_counts_and_seconds() -> None:
    usage = Usage(20, 2, None, Source.UNKNOWN, 0.5, 0.1)
    assert read_answer(chat(MODEL, "hi"), DONE) == Answer("hi", "hm", "stop", usage)


def test_cached_tokens_are_the_engines_where_it_reports_them() -> None:
    answer = read_answer(chat(MODEL, "hi"), DONE | {"prompt_eval_cached_count": 0})
    assert isinstance(answer, Answer)
    assert (answer.usage.cached_tokens, answer.usage.cached_source) == (0, Source.ENGINE)


def test_one_token_has_no_decode_duration() -> None:
    answer = read_answer(chat(MODEL, "hi"), DONE | {"eval_count": 1, "eval_duration": 1_000})
    assert isinstance(answer, Answer)
    assert answer.usage.decode_s is None


@pytest.mark.parametrize(
    "body",
    [
        DONE | {"done": False},
        DONE | {"done_reason": "load"},
        DONE | {"done_reason": None},
        DONE | {"message": None},
        ["hi"],
        None,
    ],
)
def test_only_a_finished_answer_counts(body: object) -> None:
    fault = read_answer(chat(MODEL, "hi"), body)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary) == (Category.SERVER, True)


@pytest.mark.parametrize(
    "odd",
    [
        {"message": {"role": "assistant", "content": ["x"]}},
        {"message": {"content": "x", "thinking": ["hm"]}},
        {"message": "x"},
        {"done_reason": ["stop"]},
        {"done_reason": {"stop": 1}},
        {"eval_count": "5"},
        {"eval_count": -5},
        {"eval_count": 10**18},
        {"eval_count": True},
        {"prompt_eval_count": 20.5},
        {"prompt_eval_cached_count": 21},
        {"prompt_eval_cached_count": "many"},
        {"load_duration": "1"},
        {"prompt_eval_duration": -3},
        {"eval_duration": 10**19},
    ],
)
def test_whatever_is_odd_in_an_answer_is_that_requests_fault(odd: dict[str, object]) -> None:
    fault = read_answer(chat(MODEL, "hi"), DONE | odd)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.SERVER, True, False)


@pytest.mark.parametrize(
    "vectors",
    [None, {}, [], [[]], [[None] * 4], [["a"]], [0.1, 0.2], [{"a": 1}], [[True]], [[1e39]], [[1], [2]]],
)
def test_an_embedding_is_numbers_or_none(vectors: object) -> None:
    request = Request("a", Endpoint.EMBEDDINGS, "x", (), ("one",), {}, 0)
    fault = read_answer(request, {"embeddings": vectors})
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary) == (Category.SERVER, True)


ODD_TEXTS = (
    f"request ({'9' * 5_000} tokens) exceeds the available context size ({'8' * 5_000} tokens)",
    '{"error":{"type":"exceed_context_size_error","message":'
    + "[" * 900
    + "]" * 900
    + ',"n_prompt_tokens":-1}}',
    '{"error":{"type":"invalid_request_error","message":' + "[" * 900 + "]" * 900 + "}}",
    '{"error":{"type":["x"],"message":{}}}',
    "model requires " * 20_000 + " but only " * 20_000,
    "model '" * 50_000,
)


@pytest.mark.parametrize("status", [400, 404, 500])
@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_no_text_of_a_server_is_more_than_a_fault(status: int, text: str) -> None:
    fault = classify(status, text)
    assert len(fault.message) <= 2_000
    assert fault.prompt_tokens is None
    assert fault.window_tokens is None


def test_what_a_server_tells_of_a_model_is_believed_only_where_it_can_be() -> None:
    body = {
        "details": {"family": ["llama"], "parameter_size": 7, "quantization_level": "Q4\n"},
        "model_info": {"general.architecture": [], ".context_length": -5},
        "capabilities": [{"a": 1}, "embedding"],
    }
    model = read_model("m", body)
    assert (model.family, model.size, model.quantization, model.window_tokens_max) == (
        "",
        "",
        "Q4\\x0a",
        None,
    )
    assert model.is_serial
    listed = {"name": MODEL, "context_length": True, "size": -1, "size_vram": 10**18}
    loaded = read_loaded(MODEL, "d", listed, LOAD, model, 0.0)
    assert (loaded.window_tokens, loaded.size_bytes, loaded.gpu_bytes) == (LOAD.window_tokens, None, None)


@pytest.mark.parametrize("name", ["qwen3-coder:480b-cloud", "glm-4.6:cloud"])
def test_a_cloud_name_is_a_remote_model(name: str) -> None:
    assert is_remote_name(name)
    assert not is_remote_name(name.replace("cloud", "q4"))
    assert not is_remote_name("mycloud")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Settings(slots=2, hung_unload_s=0.05)) as simulator:
        yield simulator
        assert not simulator.bugs


@pytest.fixture
async def server(simulator: Simulator) -> AsyncIterator[OllamaServer]:
    server = OllamaServer(simulator.address, "attach", RealClock())
    yield server
    await server.close()


async def test_every_call_carries_window_residence_and_no_cutting(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(LOAD, 5)
    await server.answer(chat(MODEL, "hi"), 0, 5)
    await server.answer(Request("a", Endpoint.COMPLETIONS, MODEL, (), ("hi",), {}, 8), 1, 5)
    await server.load(Load("all-minilm", 256, 2, is_embedding=True), 5)
    await server.answer(Request("a", Endpoint.EMBEDDINGS, "all-minilm", (), ("hi",), {}, 0), 0, 5)
    asked = [seen for seen in simulator.seen if seen.body.get("keep_alive") != 0]
    assert [seen.path.removeprefix("/api/") for seen in asked] == [
        "generate",
        "chat",
        "generate",
        "embed",
        "embed",
    ]
    assert [seen.body.get("keep_alive") for seen in asked] == [AT_WORK, None, None, AT_WORK, None]
    for seen in asked:
        fixed = {name: seen.body[name] for name in ("stream", "truncate", "shift")}
        assert fixed == {"stream": False, "truncate": False, "shift": False}
        options = seen.body["options"]
        assert isinstance(options, dict)
        assert options["num_ctx"] == (256 if seen.path == "/api/embed" else 1024)
        assert options["num_predict"] >= 1
    assert simulator.counts.loads == 2


async def test_each_request_gets_the_answer_to_its_own_text(server: OllamaServer) -> None:
    await server.load(LOAD, 5)
    async with asyncio.TaskGroup() as group:
        tasks = {
            text: group.create_task(server.answer(chat(MODEL, text), n % 2, 5))
            for n, text in enumerate(f"request {n}" for n in range(20))
        }
    for text, task in tasks.items():
        answer = task.result()
        assert isinstance(answer, Answer)
        assert answer.text.startswith(tag_of(text))


async def test_embeddings_come_back_in_input_order(server: OllamaServer) -> None:
    loaded = await server.load(Load("all-minilm", 256, 4, is_embedding=True), 5)
    assert isinstance(loaded, Loaded)
    assert loaded.slots == 1  # Ollama gives embedding models one slot, whatever it is asked
    both = await server.answer(
        Request("a", Endpoint.EMBEDDINGS, "x", (), ("one", "two"), {"dimensions": 8}, 0), 0, 5
    )
    second = await server.answer(
        Request("a", Endpoint.EMBEDDINGS, "x", (), ("two",), {"dimensions": 8}, 0), 0, 5
    )
    assert isinstance(both, Answer)
    assert isinstance(second, Answer)
    assert [len(vector) for vector in both.embeddings] == [8, 8]
    assert both.embeddings[1] == second.embeddings[0]


async def test_a_killed_runner_is_a_crash_though_it_is_still_listed(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(LOAD, 5)
    simulator.faults.delays.extend([20.0, 20.0])
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.answer(chat(MODEL, f"hi {n}"), n, 10)) for n in range(2)]
        async with asyncio.timeout(5):
            await simulator.wait_for_in_flight(2)
        simulator.kill_runner()
    for task in tasks:
        fault = task.result()
        assert isinstance(fault, ModelFault)
        assert (fault.category, fault.is_server_lost) == (Category.CRASH, True)
    assert simulator.scheduler.runners
    assert isinstance(await server.load(LOAD, 5), Loaded)
    assert simulator.counts.loads == 2


async def test_a_cancelled_call_is_given_up_by_the_server_at_once(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(LOAD, 5)
    simulator.faults.delays.append(30.0)
    async with asyncio.timeout(10):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server.answer(chat(MODEL, "hi"), 0, 30))
            await simulator.wait_for_in_flight(1)
            task.cancel()
        while simulator.counts.in_flight:  # noqa: ASYNC110 - the server sees the closed connection
            await asyncio.sleep(0.002)


async def test_a_hung_runner_is_freed_by_a_restart(simulator: Simulator, server: OllamaServer) -> None:
    await server.load(LOAD, 5)
    simulator.hang()
    fault = await server.answer(chat(MODEL, "hi"), 0, 0.05)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_server_lost) == (Category.TIMEOUT, True)
    assert await server.restart(5) is None
    assert not simulator.scheduler.runners
    assert isinstance(await server.load(LOAD, 5), Loaded)


async def test_a_load_that_does_not_fit_is_out_of_memory_and_a_smaller_one_fits(
    simulator: Simulator, server: OllamaServer
) -> None:
    simulator.set_memory(200_000_000)
    fault = await server.load(replace(LOAD, window_tokens=8192), 5)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary) == (Category.OOM, True)
    assert isinstance(await server.load(replace(LOAD, window_tokens=512), 5), Loaded)


async def test_a_model_that_fell_onto_the_cpu_is_seen_in_its_load() -> None:
    async with Simulator(Settings(gpu_bytes=120_000_000)) as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        loaded = await server.load(replace(LOAD, window_tokens=4096), 5)
        await server.close()
    assert isinstance(loaded, Loaded)
    assert loaded.size_bytes is not None
    assert loaded.gpu_bytes == 120_000_000
    assert loaded.gpu_bytes < loaded.size_bytes


async def test_a_server_that_is_down_is_a_network_fault_and_comes_back(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(LOAD, 5)
    await simulator.go_down()
    fault = await server.answer(chat(MODEL, "hi"), 0, 5)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary, fault.is_server_lost) == (Category.NETWORK, True, True)
    await simulator.come_up()
    assert isinstance(await server.load(LOAD, 5), Loaded)
    assert isinstance(await server.answer(chat(MODEL, "hi"), 0, 5), Answer)


@pytest.mark.parametrize(
    ("fault", "category"),
    [("undone", Category.SERVER), ("garbage", Category.SERVER), ("busy", Category.NETWORK)],
)
async def test_an_answer_that_is_none_is_temporary_trouble(
    simulator: Simulator, server: OllamaServer, fault: str, category: Category
) -> None:
    await server.load(LOAD, 5)
    setattr(simulator.faults, fault, 1)
    first = await server.answer(chat(MODEL, "hi"), 0, 5)
    assert isinstance(first, ModelFault)
    assert (first.category, first.is_temporary, first.is_server_lost) == (category, True, False)
    assert isinstance(await server.answer(chat(MODEL, "hi"), 0, 5), Answer)


async def test_a_connection_that_breaks_makes_its_request_a_suspect(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(LOAD, 5)
    simulator.faults.drop = 1
    fault = await server.answer(chat(MODEL, "hi"), 0, 5)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_server_lost) == (Category.CRASH, True)


@pytest.mark.parametrize("name", ["qwen3-coder:480b-cloud", "hidden:1b"])
async def test_a_model_that_runs_elsewhere_is_refused_unless_allowed(name: str) -> None:
    models = (ModelSpec(name, remote_host="https://elsewhere.example"),)
    async with Simulator(Settings(models=models)) as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        fault = await server.load(Load(name, 512, 1), 5)
        allowed = OllamaServer(simulator.address, "attach", RealClock(), allow_remote=True)
        loaded = await allowed.load(Load(name, 512, 1), 5)
        await server.close()
        await allowed.close()
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_temporary, fault.code) == (Category.MODEL, False, "remote_model_refused")
    assert isinstance(loaded, Loaded)


@pytest.mark.parametrize("seed", [-1, 2**32 - 1, 2**40 + 7, -(2**63)])
def test_no_seed_means_by_chance_and_the_same_one_is_the_same_again(seed: int) -> None:
    call = request_call(chat(MODEL, "hi", seed=seed), MODEL, 1024, PLAIN)
    assert not isinstance(call, ModelFault)
    options = call[1]["options"]
    assert isinstance(options, dict)
    assert options["seed"] == seed % (2**32 - 1)


async def test_digests_tell_what_a_name_stands_for_without_a_load(
    simulator: Simulator, server: OllamaServer
) -> None:
    digests = await server.digests([MODEL, "no-such-model"], 5)
    assert isinstance(digests, dict)
    assert list(digests) == [MODEL]
    assert len(digests[MODEL]) == 64
    assert simulator.counts.loads == 0


async def test_a_model_that_somebody_loaded_under_another_name_is_the_same_model() -> None:
    models = (ModelSpec("twin:1", blob="b"), ModelSpec(MODEL, blob="b"))
    async with Simulator(Settings(slots=2, models=models)) as simulator:
        other = OllamaServer(simulator.address, "attach", RealClock())
        ours = OllamaServer(simulator.address, "attach", RealClock())
        await other.load(Load("twin:1", 1024, 2), 5)
        loaded = await ours.load(LOAD, 5)
        answered = await ours.answer(chat(MODEL, "hi"), 0, 5)
        assert await ours.restart(5) is None
        await ours.close()
        await other.close()
    assert isinstance(loaded, Loaded)
    assert (loaded.model, loaded.digest) == (MODEL, models[1].digest)
    assert isinstance(answered, Answer)
    assert simulator.counts.unloads == 1


async def test_another_model_puts_the_first_one_out(simulator: Simulator, server: OllamaServer) -> None:
    await server.load(LOAD, 5)
    await server.load(replace(LOAD, model="gemma3:270m"), 5)
    assert [runner.spec.name for runner in simulator.scheduler.runners] == ["gemma3:270m"]
    assert [seen.body.get("keep_alive") for seen in simulator.seen] == [AT_WORK, 0, AT_WORK]


async def test_somebody_elses_model_gets_its_turn_between_two_requests(
    simulator: Simulator, server: OllamaServer
) -> None:
    other = OllamaServer(simulator.address, "attach", RealClock())
    await server.load(LOAD, 5)
    async with asyncio.TaskGroup() as group:
        simulator.faults.delays.append(0.5)
        ours = group.create_task(server.answer(chat(MODEL, "hi"), 0, 5))
        await asyncio.sleep(0.1)
        theirs = group.create_task(other.load(replace(LOAD, model="gemma3:270m"), 5))
        await asyncio.sleep(0.1)
        again = group.create_task(server.answer(chat(MODEL, "hi"), 1, 5))
    await other.close()
    assert isinstance(theirs.result(), Loaded)
    answer_or_fail(ours.result())
    answer_or_fail(again.result())
    answer_or_fail(await server.answer(chat(MODEL, "hi"), 0, 5))
    assert [runner.spec.name for runner in simulator.scheduler.runners] == [MODEL]


async def test_an_answer_says_that_the_model_was_loaded_for_it() -> None:
    async with Simulator(Settings(slots=2, load_s=0.3)) as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        await server.load(LOAD, 5)
        resident = answer_or_fail(await server.answer(chat(MODEL, "hi"), 0, 5))
        simulator.scheduler.forget()
        gone = answer_or_fail(await server.answer(chat(MODEL, "hi"), 0, 5))
        await server.close()
    assert resident.reload_s == 0
    assert gone.reload_s >= 0.3


async def test_silence_while_others_use_the_server_charges_nobody(
    simulator: Simulator, server: OllamaServer
) -> None:
    other = OllamaServer(simulator.address, "attach", RealClock())
    await server.load(LOAD, 5)
    await other.load(replace(LOAD, model="gemma3:270m"), 5)
    simulator.faults.delays.append(2.0)
    async with asyncio.TaskGroup() as group:
        theirs = group.create_task(other.answer(chat("gemma3:270m", "hi"), 0, 5))
        await asyncio.sleep(0.1)
        fault = await server.answer(chat(MODEL, "hi"), 0, 0.5)
    await other.close()
    assert isinstance(theirs.result(), Answer)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.is_server_lost) == (Category.NETWORK, True)
    assert "gemma3:270m" in fault.message


async def test_silence_of_a_model_that_is_there_is_a_hang(simulator: Simulator, server: OllamaServer) -> None:
    await server.load(LOAD, 5)
    simulator.scheduler.hang()
    fault = await server.answer(chat(MODEL, "hi"), 0, 0.2)
    assert isinstance(fault, ModelFault)
    assert fault.category is Category.TIMEOUT


async def test_an_attached_server_gets_its_five_minutes_back_without_a_reload(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(LOAD, 5)
    await server.unload(5)
    (runner,) = simulator.scheduler.runners
    assert runner.keep_alive_s == 300
    assert simulator.counts.loads == 1


#: As another client loads a model: its own window, and nothing said of shifting.
STRANGERS = {"model": MODEL, "stream": False, "options": {"num_ctx": 2_048}}
ANY_LARGER = replace(LOAD, accepts_larger=True)


async def loaded_by_a_stranger(simulator: Simulator, **more: object) -> None:
    async with httpx.AsyncClient(base_url=simulator.address, trust_env=False) as client:
        assert (await client.post("/api/generate", json=STRANGERS | more)).status_code == 200


async def test_a_model_that_others_have_loaded_is_used_as_it_lies(
    simulator: Simulator, server: OllamaServer
) -> None:
    """To load it again with a smaller window would cost each of them a load as well."""
    await loaded_by_a_stranger(simulator)
    loaded = loaded_or_fail(await server.load(ANY_LARGER, 5))
    assert (loaded.window_tokens, simulator.counts.loads) == (2_048, 1)
    answer_or_fail(await server.answer(chat(MODEL, "hi"), 0, 5))
    await server.unload(5)
    assert simulator.counts.loads == 1
    (runner,) = simulator.scheduler.runners
    assert runner.keep_alive_s == 300


@pytest.mark.parametrize("window", [1_024, 4_096])
async def test_one_that_is_kept_for_ever_is_given_back_so(
    simulator: Simulator, server: OllamaServer, window: int
) -> None:
    """Whether it was used as it lay, or loaded again, and again after that."""
    await loaded_by_a_stranger(simulator, keep_alive=-1)
    for more in (0, 256):
        await server.load(replace(ANY_LARGER, window_tokens=window + more), 5)
    await server.unload(5)
    (runner,) = simulator.scheduler.runners
    assert runner.keep_alive_s < 0


async def test_what_a_killed_batchd_left_is_not_taken_for_a_model_to_be_kept(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(ANY_LARGER, 5)
    heir = OllamaServer(simulator.address, "attach", RealClock())
    await heir.load(ANY_LARGER, 5)
    await heir.unload(5)
    await heir.close()
    (runner,) = simulator.scheduler.runners
    assert runner.keep_alive_s == 300


async def test_the_models_own_maximum_is_large_enough_for_any_wish(
    simulator: Simulator, server: OllamaServer
) -> None:
    await loaded_by_a_stranger(simulator, options={"num_ctx": 8_192})
    await server.load(replace(ANY_LARGER, window_tokens=32_768), 5)
    assert simulator.counts.loads == 1


async def test_a_model_of_others_is_not_put_out_for_our_next_one(
    simulator: Simulator, server: OllamaServer
) -> None:
    await loaded_by_a_stranger(simulator)
    await server.load(ANY_LARGER, 5)
    await server.load(Load("gemma3:270m", 1_024, 2, accepts_larger=True), 5)
    assert [seen.body.get("keep_alive") for seen in simulator.seen] == [None, AT_WORK, "5m", AT_WORK]


@pytest.mark.parametrize(
    ("theirs", "wish", "window"),
    [
        (512, ANY_LARGER, LOAD.window_tokens),  # too small
        (2_048, LOAD, LOAD.window_tokens),  # memory was short: no larger one will do; and calibration
    ],
)
async def test_a_model_that_lies_otherwise_than_needed_is_loaded_again(
    simulator: Simulator, server: OllamaServer, theirs: int, wish: Load, window: int
) -> None:
    await loaded_by_a_stranger(simulator, options={"num_ctx": theirs})
    assert loaded_or_fail(await server.load(wish, 5)).window_tokens == window
    assert simulator.counts.loads == 2
    assert [seen.body.get("shift") for seen in list(simulator.seen)[1:]] == [False]


async def test_a_smaller_wish_after_a_larger_load_of_ours_is_no_load(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(replace(ANY_LARGER, window_tokens=4_096), 5)
    assert loaded_or_fail(await server.load(ANY_LARGER, 5)).window_tokens == 4_096
    answer_or_fail(await server.answer(chat(MODEL, "hi"), 0, 5))
    assert simulator.counts.loads == 1
    assert {seen.body.get("shift") for seen in simulator.seen} == {False}


def listed(**told: object) -> dict[str, object]:
    return {"context_length": 2_048, "size": 10, "size_vram": 10, "expires_at": "2026-11-29T18:00:00Z"} | told


@pytest.mark.parametrize(
    ("told", "window"),
    [
        (listed(), 2_048),
        (listed(size_vram=0), 2_048),  # all of it in memory
        (listed(size_vram=6), LOAD.window_tokens),  # a smaller window may bring all of it onto the card
        (listed(context_length=None), LOAD.window_tokens),  # an old server
        (listed(context_length="2048"), LOAD.window_tokens),
        (None, LOAD.window_tokens),
    ],
)
def test_it_must_be_told_that_the_model_lies_well(told: dict[str, object] | None, window: int) -> None:
    assert terms_for(ANY_LARGER, None, told, None).window_tokens == window


def test_an_answer_that_went_beyond_a_window_that_shifts_has_lost_its_prompt() -> None:
    def read(shift: bool | None, completion: int) -> Answer | ModelFault:
        model = Resident(MODEL, MODEL, PLAIN, Terms(100, shift), False)
        counts = {"prompt_eval_count": 60, "eval_count": completion}
        return model.read(chat(MODEL, "hi"), DONE | {"model": MODEL, "done_reason": "stop"} | counts)

    assert isinstance(read(None, 41), Answer)
    assert isinstance(read(False, 42), Answer)
    fault = read(None, 42)
    assert isinstance(fault, ModelFault)
    assert (fault.category, fault.prompt_tokens, fault.window_tokens) == (Category.CONTEXT_LENGTH, 60, 100)


async def test_requests_over_the_chunk_wait_in_their_clients_and_all_are_answered(
    simulator: Simulator, server: OllamaServer
) -> None:
    await server.load(LOAD, 5)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.answer(chat(MODEL, f"{n}"), n, 20)) for n in range(40)]
    assert all(isinstance(task.result(), Answer) for task in tasks)


def test_messages_keep_their_roles_and_order() -> None:
    messages = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v"))
    request = Request("a", Endpoint.CHAT, MODEL, messages, (), {}, 8)
    assert [(turn["role"], turn["content"]) for turn in body_of(request)["messages"]] == [
        ("system", "s"),
        ("user", "u"),
        ("assistant", "a"),
        ("user", "v"),
    ]


async def test_an_answer_that_comes_too_late_is_nobodys_not_even_the_next_ones() -> None:
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        assert isinstance(await server.load(LOAD, 10), Loaded)
        simulator.faults.poison["the first"] = "late 0.4"
        late = await server.answer(chat(MODEL, "the first"), 0, 0.1)
        assert isinstance(late, ModelFault)
        assert (late.category, late.is_server_lost) == (TIMEOUT, True)
        simulator.faults.poison.clear()
        await asyncio.sleep(0.5)  # by now it would lie in the connection
        answer = await server.answer(chat(MODEL, "the second"), 0, 10)
        assert isinstance(answer, Answer)
        first, second = list(simulator.seen)[-2:]
        assert first.tag not in (None, second.tag)
        assert second.tag is not None
        assert second.tag in answer.text
        assert str(first.tag) not in answer.text
        await server.close()


async def test_an_answer_of_another_model_is_to_another_request_and_counts_for_nobody() -> None:
    async with Simulator() as simulator:
        server = OllamaServer(simulator.address, "attach", RealClock())
        assert isinstance(await server.load(LOAD, 10), Loaded)
        simulator.faults.crossed = 1
        crossed = await server.answer(chat(MODEL, "mine"), 0, 10)
        assert isinstance(crossed, ModelFault)
        assert (crossed.category, crossed.is_temporary) == (SERVER, True)
        assert crossed.message == "The answer is to another request: it is of the model 'somebody:else'."
        assert isinstance(await server.answer(chat(MODEL, "mine"), 0, 10), Answer)
        await server.close()
