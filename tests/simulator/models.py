"""The models that the simulator knows, and what `/api/tags`, `/api/show` and `/api/ps` say of them.

SUMMARY
    ModelSpec     one model: names, sizes, capabilities
    tag_entry, show_body, ps_entry    the bodies, with the keys of the recorded ones
    full_name     `smollm2` means `smollm2:latest`

DIAGNOSTICS
    None.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

#: Keys of `model_info` that a call without `verbose` gives as null.
_ARRAYS = {
    "general.languages": ["en"],
    "tokenizer.ggml.merges": ["t h", "i n"],
    "tokenizer.ggml.tokens": ["<s>"],
    "tokenizer.ggml.token_type": [3],
}

_GENERAL: Mapping[str, object] = {
    "general.basename": "smollm2",
    "general.file_type": 3,
    "general.finetune": "8k-lc100k-mix1-ep2",
    "general.license": "apache-2.0",
    "general.organization": "HuggingFaceTB",
    "general.parameter_count": 134_515_008,
    "general.quantization_version": 2,
    "general.size_label": "135M",
    "general.type": "model",
}

_TOKENIZER: Mapping[str, object] = {
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.add_space_prefix": False,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.padding_token_id": 2,
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.unknown_token_id": 0,
}

_TEMPLATE = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model. `kv_bytes` is what one token of one slot costs; `is_serial` models get one slot only."""

    name: str
    family: str = "llama"
    parameter_size: str = "134.52M"
    quantization: str = "Q4_1"
    size_bytes: int = 98_362_745
    window_max: int = 8192
    embedding_length: int = 576
    kv_bytes: int = 23_040
    capabilities: tuple[str, ...] = ("completion",)
    is_serial: bool = False
    remote_host: str = ""
    blob: str = ""  # names of one blob share a runner, which is listed under the name that loaded it

    @property
    def weights(self) -> str:
        return self.blob or self.name

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def memory_bytes(self, window: int, slots: int) -> int:
        """Weights, KV cache of every slot, and the buffers of the computation, as measured on smollm2."""
        return self.size_bytes + self.kv_cache_bytes(window, slots) + self.compute_bytes(window, slots)

    def kv_cache_bytes(self, window: int, slots: int) -> int:
        return window * slots * self.kv_bytes

    def compute_bytes(self, window: int, slots: int) -> int:
        return 10_000_000 + window * slots * 1_500


DEFAULT_MODELS = (
    ModelSpec("smollm2:135m"),
    ModelSpec(
        "gemma3:270m",
        "gemma3",
        "268.10M",
        "Q4_K_M",
        253_113_180,
        window_max=32_768,
        embedding_length=640,
        kv_bytes=4_600,
    ),
    ModelSpec(
        "qwen3:0.6b",
        "qwen3",
        "751.63M",
        "Q4_K_M",
        522_653_767,
        40_960,
        capabilities=("completion", "thinking"),
    ),
    ModelSpec(
        "gpt-oss:20b",
        "gptoss",
        "20.9B",
        "MXFP4",
        13_793_441_244,
        131_072,
        capabilities=("completion", "thinking"),
    ),
    ModelSpec(
        "all-minilm:latest",
        "bert",
        "22.57M",
        "F16",
        45_960_996,
        window_max=512,
        embedding_length=384,
        kv_bytes=0,
        capabilities=("embedding",),
        is_serial=True,
    ),
    ModelSpec(
        "qwen3-coder:480b-cloud", "qwen3moe", "480B", "BF16", 382, remote_host="https://ollama.com:443"
    ),
)


def full_name(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def _details(spec: ModelSpec) -> dict[str, object]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": spec.family,
        "families": [spec.family],
        "parameter_size": spec.parameter_size,
        "quantization_level": spec.quantization,
    }


def tag_entry(spec: ModelSpec) -> dict[str, object]:
    lengths = {"context_length": spec.window_max, "embedding_length": spec.embedding_length}
    return {
        "name": spec.name,
        "model": spec.name,
        "modified_at": "2026-11-21T01:29:17.602359702Z",
        "size": spec.size_bytes,
        "digest": spec.digest,
        "details": _details(spec) | lengths,
        "capabilities": list(spec.capabilities),
    }


def ps_entry(spec: ModelSpec, size: int, gpu: int, window: int, expires_at: str) -> dict[str, object]:
    return {
        "name": spec.name,
        "model": spec.name,
        "size": size,
        "digest": spec.digest,
        "details": _details(spec),
        "expires_at": expires_at,
        "size_vram": gpu,
        "context_length": window,
    }


def show_body(spec: ModelSpec, is_verbose: bool) -> dict[str, object]:
    remote: Mapping[str, object] = (
        {"remote_host": spec.remote_host, "remote_model": spec.name.removesuffix("-cloud")}
        if spec.remote_host
        else {}
    )
    return {
        "modelfile": f'# Modelfile\nFROM {spec.name}\nTEMPLATE "{_TEMPLATE}"\nPARAMETER stop <|im_end|>\n',
        "parameters": 'stop                           "<|im_end|>"',
        "template": _TEMPLATE,
        "details": _details(spec),
        "model_info": _model_info(spec, is_verbose),
        "tensors": [{"name": "output_norm.weight", "type": "F32", "shape": [spec.embedding_length]}],
        "capabilities": list(spec.capabilities),
        "modified_at": "2026-11-21T01:29:17.602359702Z",
        **remote,
    }


def _model_info(spec: ModelSpec, is_verbose: bool) -> dict[str, object]:
    arrays = dict(_ARRAYS) if is_verbose else dict.fromkeys(_ARRAYS)
    of_family = {
        "attention.head_count": 9,
        "attention.head_count_kv": 3,
        "attention.layer_norm_rms_epsilon": 1e-05,
        "block_count": 30,
        "context_length": spec.window_max,
        "embedding_length": spec.embedding_length,
        "feed_forward_length": 1536,
        "rope.dimension_count": 64,
        "rope.freq_base": 100_000,
        "vocab_size": 49_152,
    }
    return {
        **_GENERAL,
        "general.architecture": spec.family,
        **{f"{spec.family}.{name}": value for name, value in of_family.items()},
        **_TOKENIZER,
        **arrays,
    }
