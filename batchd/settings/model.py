"""The settings themselves: names, types, defaults and bounds.

SUMMARY
    One frozen model. `Settings(...)` looks at nothing but its arguments: laying flags, environment and file
    over each other is `settings.load_settings`.

DIAGNOSTICS
    None of its own: pydantic's ValidationError is turned into a ConfigError by `load_settings`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from batchd.core.retry import ATTEMPTS_MAX_MAX
from batchd.core.strategy import Strategy
from batchd.core.text import printable
from batchd.core.validity import AGAIN_MAX, Answers
from batchd.settings.address import http_url, server_url


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _listed(value: object) -> object:
    """Several values; in an environment variable they stand with commas between them."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _places(value: object) -> object:
    """One path is a list of one."""
    return (value,) if isinstance(value, Path) else _listed(value)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    doubled = next((value for number, value in enumerate(values) if value in values[:number]), None)
    if doubled is not None:
        raise ValueError(f"'{printable(doubled)}' is named twice")
    return values


def _card(text: str) -> str:
    if not _CARD.fullmatch(text):
        raise ValueError(
            f"'{printable(text)}' is no card: give its number (0, 1...), or its UUID from `nvidia-smi -L`"
        )
    return text


#: A number, or a UUID: NVIDIA's, of a part of a card, AMD's.
_CARD = re.compile(r"[0-9]{1,3}|(GPU|MIG)-[0-9A-Za-z/-]{4,80}", re.ASCII)

LocalPath = Annotated[Path, AfterValidator(_absolute)]
LogLevel = Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"]


class OllamaSettings(BaseModel):
    """The default engine. `host` is whom to attach to, `hosts` are several of them; `binary` and `models_dir`
    are for own servers, of which there is one for each of `gpus`."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    host: Annotated[str, AfterValidator(server_url)] = "127.0.0.1:11434"
    # Attached servers that share the work of each batch. They take the place of `host`; to set both is an
    # error, but OLLAMA_HOST, which is not ours, gives way to them.
    hosts: Annotated[
        tuple[Annotated[str, AfterValidator(server_url)], ...],
        BeforeValidator(_listed),
        AfterValidator(_distinct),
        Field(max_length=64),
    ] = ()
    mode: Literal["auto", "attach", "own"] = "auto"
    # One own server for each of these cards, as if `mode` were own: numbers along the bus, or UUIDs.
    gpus: Annotated[
        tuple[Annotated[str, AfterValidator(_card)], ...],
        BeforeValidator(_listed),
        AfterValidator(_distinct),
        Field(max_length=64),
    ] = ()
    binary: LocalPath | None = None
    models_dir: LocalPath | None = None
    # As whom an attached server of this machine must run; None: as anybody.
    user: str | None = Field(default=None, min_length=1, max_length=64)
    # Of the attached server on this machine: its journal has counts that the answers lack. Empty: never read.
    unit: str = Field(default="ollama.service", max_length=255, pattern=r"^([0-9A-Za-z:_.@-]+\.service)?$")

    @model_validator(mode="after")
    def _one_meaning(self) -> "OllamaSettings":
        if self.hosts and "host" in self.model_fields_set:
            raise ValueError("host and hosts are both set; hosts alone names all servers, so leave host out")
        if self.hosts and (self.gpus or self.mode == "own"):
            other = "gpus asks" if self.gpus else "mode own asks"
            raise ValueError(f"hosts names servers to attach to, and {other} for servers of our own")
        if self.gpus and self.mode == "attach":
            raise ValueError("gpus asks for servers of our own, and mode attach for none")
        return self


class LlamacppSettings(BaseModel):
    """The embedded engine: a child of ours, or any llama-server that `url` names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, LocalPath] = {}  # name in the batch file -> GGUF file
    gguf: LocalPath | None = None  # answers every name that `models` lacks
    url: Annotated[str, AfterValidator(http_url)] | None = None
    api_key: SecretStr | None = None
    # llama.cpp's own cache of whole slots in host memory (its default is 8192): it copies tens of MB for each
    # request, and lanes leave it nothing to do.
    cache_ram_mib: int = Field(default=0, ge=0, le=1 << 20)
    # Files with the cells of one slot each: a prefix is read once and restored into the other slots. 0: none.
    snapshot_mib: int = Field(default=4096, ge=0, le=1 << 24)
    threads: int | None = Field(default=None, ge=1, le=1024)  # None: one for each core, as llama.cpp does


class ConversationSettings(BaseModel):
    """How conversations are cut and trimmed, where a batch asks for that strategy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Of the computed size of a segment: questions that are longer than those before must not fill the window.
    margin: float = Field(default=0.8, gt=0, le=1)
    kept_exchanges: int = Field(default=10, ge=0, le=10_000)  # by a trim, the last ones
    trim_requests: int = Field(default=50, ge=1, le=1_000_000)
    # Of the window, 28,000 of 32,000 tokens: a longer prompt is trimmed.
    trim_share: float = Field(default=0.875, gt=0, le=1)
    # Kept free for an answer, where that is no more than an eighth of the window; its own bound always is.
    answer_tokens: int = Field(default=4_096, ge=1, le=1 << 20)


class Settings(BaseSettings):
    """Everything that can be set. A bound keeps out what can only be a slip of the hand."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    spool: LocalPath
    engine: Literal["ollama", "llamacpp"] = "ollama"
    slots: int | None = Field(default=None, ge=1, le=256)
    window_tokens_max: int = Field(default=32_768, ge=256, le=1 << 24)
    strict: bool = False
    deduplicate: bool = True
    # How requests are put in order, where a batch does not ask for another way.
    strategy: Strategy = Strategy.PREFIX
    request_timeout_s: float = Field(default=300.0, ge=1, le=86_400)
    # A model that cannot be used is waited for; after so long its requests end with error lines. None: never.
    give_up_s: float | None = Field(default=None, ge=0, le=31_536_000)
    # A model that nobody has needed for this long is put out, so that others may use the card.
    idle_unload_s: float = Field(default=300.0, ge=0, le=31_536_000)
    completion_tokens_default: int = Field(default=1_024, ge=1, le=1 << 20)
    enforce_window: bool = False
    settle_s: float | None = Field(default=None, ge=0, le=86_400)  # None: by the file system of the inbox
    drain_s: float = Field(default=30.0, ge=0, le=3_600)
    archive_days: int = Field(default=30, ge=0, le=36_500)
    failed_share_max: float = Field(default=0.0, ge=0, le=1)
    model_aliases: dict[str, str] = {}
    model: str | None = Field(default=None, min_length=1)
    allow_remote_models: bool = False
    line_bytes_max: int = Field(default=8 << 20, ge=1 << 10, le=1 << 30)
    # Lines of one batch file: some 150 bytes of memory each, and 2 GB of journal for so many.
    lines_max: int = Field(default=5_000_000, ge=1, le=1_000_000_000)
    # Input of all batches in the house, and of one owner's; what is beyond waits in the inbox. One file may
    # have 64 GiB, so none is kept out for ever by its own size alone.
    input_bytes_max: int = Field(default=256 << 30, ge=1 << 20, le=1 << 50)
    owner_bytes_max: int = Field(default=128 << 30, ge=1 << 20, le=1 << 50)
    reserve_bytes: int | None = Field(default=None, ge=0, le=1 << 50)  # None: by the size of the disk
    attempts_max: int = Field(default=3, ge=1, le=ATTEMPTS_MAX_MAX)
    # Answers that are not the JSON that was asked for: error lines, or what OpenAI does with them. And how
    # often such an answer is asked for again, with another seed.
    answers: Answers = Answers.CHECKED
    answer_attempts: int = Field(default=2, ge=0, le=AGAIN_MAX)
    profiles: LocalPath | None = None  # what `calibrate` wrote; by `load_settings`, depends on the machine
    pilot: int = Field(
        default=20, ge=0, le=1_000
    )  # lines that a batch of more than 1,000 begins with; 0: none
    # One batchd at a time on a card: the directory of its lock, then those in which others may have theirs.
    # By `load_settings`, as the profiles.
    card_locks: Annotated[tuple[LocalPath, ...], BeforeValidator(_places), Field(max_length=8)] = ()
    # Work beside another batchd on the same card: each decides by itself how much of it to take.
    share_card: bool = False
    log_level: Annotated[LogLevel, BeforeValidator(_upper)] = "INFO"
    ollama: OllamaSettings = OllamaSettings()
    llamacpp: LlamacppSettings = LlamacppSettings()
    conversation: ConversationSettings = ConversationSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load_settings` lays the layers itself, because it must say where each value came from.
        return (init_settings,)

    @model_validator(mode="after")
    def _answer_fits_window(self) -> "Settings":
        if self.completion_tokens_default >= self.window_tokens_max:
            raise ValueError(
                f"completion_tokens_default ({self.completion_tokens_default}) leaves no room for a prompt "
                f"in window_tokens_max ({self.window_tokens_max})"
            )
        return self

    def slots_for(self, is_attached: bool) -> int:
        """The slots to ask for. An attached server's own are unknown, and 1 is right for all of them."""
        return self.slots if self.slots is not None else 1 if is_attached else 4

    def answer_settings(self) -> dict[str, Any]:
        """What can change an answer: two batches are the same only where these are."""
        return self.model_dump(
            mode="json",
            include={
                "engine": True,
                "model": True,
                "model_aliases": True,
                "allow_remote_models": True,
                "completion_tokens_default": True,
                "window_tokens_max": True,
                "line_bytes_max": True,
                "strict": True,
                "deduplicate": True,
                "strategy": True,
                "answers": True,
                "answer_attempts": True,
                "conversation": True,
                "llamacpp": {"models", "gguf", "url"},
            },
        )
