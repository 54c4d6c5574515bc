"""The error texts, as a real Ollama 0.33.0-rc2 gave them.

SUMMARY
    Constants, and functions where a name or a number stands in the text.

DIAGNOSTICS
    None.
"""

import orjson

MISSING_BODY = "missing request body"
WHILE_RUNNING = "an error was encountered while running the model: "
EOF = f"{WHILE_RUNNING}unexpected EOF"
DIED_AT_LOAD = "llama-server process has terminated: signal: killed"
EMBED_EOF = 'do embedding request: Post "http://127.0.0.1:36857/embedding": EOF'
BUSY = "server busy, please try again.  maximum pending requests exceeded"
NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
EMBED_TOO_LONG = "the input length exceeds the context length"
CONTENT_LIST = "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the prompt, "
    "adjust the context length in settings, or use a model with a longer context length"
)
NO_IMAGES = "Multimodal data provided, but model does not support multimodal requests."


def not_found(model: str) -> str:
    return f"model '{model}' not found"


def option_type(name: str, kind: str) -> str:
    return f'option "{name}" must be of type {kind}'


def bad_format(form: object) -> str:
    quoted = orjson.dumps(orjson.dumps(form).decode()).decode()
    return f'invalid format: {quoted}; expected "json" or a valid JSON Schema object'


def exceeds(prompt_tokens: int, window: int) -> str:
    """llama-server's own error body, which Ollama passes on as a text."""
    return llama_error(
        f"request ({prompt_tokens} tokens) exceeds the available context size ({window} tokens), "
        "try increasing it",
        "exceed_context_size_error",
        n_prompt_tokens=prompt_tokens,
        n_ctx=window,
    )


def bad_schema(reason: str) -> str:
    return llama_error(f"Field 'json_schema': \"json_schema\": {reason}", "invalid_request_error")


def llama_error(message: str, kind: str, **numbers: int) -> str:
    return orjson.dumps({"error": {"code": 400, "message": message, "type": kind, **numbers}}).decode()


def load_oom(wanted_bytes: int) -> str:
    """The KV cache did not fit."""
    return (
        f"{_allocation(wanted_bytes)}"
        f"alloc_tensor_range: failed to allocate CPU buffer of size {wanted_bytes}\n"
        "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache"
    )


def compute_oom(wanted_bytes: int) -> str:
    """The KV cache did fit, the buffers of the computation did not."""
    return (
        f"{_allocation(wanted_bytes)}ggml_gallocr_reserve_n_impl: failed to allocate CPU buffer of size "
        f"{wanted_bytes}\ngraph_reserve: failed to allocate compute buffers\n"
        "llama_init_from_model: failed to initialize the context: failed to allocate compute pp buffers"
    )


def _allocation(wanted_bytes: int) -> str:
    return (
        "llama-server process has terminated: exit status 1: ggml_aligned_malloc: insufficient memory "
        f"(attempted to allocate {wanted_bytes / 2**20:6.2f} MB)\n"
        f"ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size {wanted_bytes}\n"
    )


def missing_unit(duration: str) -> str:
    return f'time: missing unit in duration "{duration}"'


def unsupported(model: str, what: str) -> str:
    return f'"{model}" does not support {what}'


def no_tools(model: str) -> str:
    return f"library/{model} does not support tools"


CUDA_OOM = "CUDA error: out of memory"


def loaded_line(slots: int, window: int) -> str:
    """In the log, after a load."""
    return f"srv    load_model: initializing, n_slots = {slots}, n_ctx_slot = {window}, kv_unified = 'false'"


def timing_lines(
    slot: int, task: int, prefill_ms: float, decode_ms: float, evaluated: int, written: int
) -> str:
    """In the log, before each answer."""
    head = f"slot print_timing: id {slot:2} | task {task} | "
    return (
        f"{head}prompt eval time = {prefill_ms:10.2f} ms / {evaluated:5} tokens\n"
        f"{head}       eval time = {decode_ms:10.2f} ms / {written:5} tokens"
    )
