"""Engine and model file on the command line, for the verbs that load a model.

DIAGNOSTICS
    Fatal: UsageError for what was typed wrongly, whatever the settings are.
"""

from pathlib import Path
from typing import Annotated

import typer

from batchd.errors import UsageError
from batchd.settings import Settings

EngineOption = Annotated[str | None, typer.Option("--engine", metavar="NAME", help="ollama or llamacpp.")]
GgufOption = Annotated[
    Path | None, typer.Option("--gguf", metavar="FILE", help="Answer from this model file, by llamacpp.")
]

#: The first bytes of every model file that llama.cpp reads.
_GGUF_MAGIC = b"GGUF"


def check_engine(engine: str | None, gguf: Path | None) -> None:
    """Whether the two make sense, and the file is a model."""
    if engine not in (None, "ollama", "llamacpp"):
        raise UsageError(f"There is no engine '{engine}'.", "Give --engine ollama or --engine llamacpp.")
    if gguf is None:
        return
    if engine == "ollama":
        raise UsageError("--gguf is a file for llamacpp, not for ollama.", "Leave one of the two out.")
    try:
        with gguf.open("rb") as file:
            is_gguf = file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    except OSError as error:
        raise UsageError(
            f"{gguf} cannot be read: {error.strerror}.", "Give --gguf the path of a model file."
        ) from error
    if not is_gguf:
        raise UsageError(f"{gguf} is not a GGUF file.", "Give --gguf a model in llama.cpp's format.")


def engine_flags(engine: str | None, gguf: Path | None) -> dict[str, object]:
    """As settings: a model file names the engine too."""
    return {
        "engine": "llamacpp" if gguf is not None and engine is None else engine,
        "llamacpp.gguf": gguf,
    }


def only_this_file(settings: Settings, gguf: Path | None) -> Settings:
    """The flag wins over every model and server that the configuration names."""
    if gguf is None:
        return settings
    only_this = settings.llamacpp.model_copy(update={"models": {}, "url": None})
    return settings.model_copy(update={"llamacpp": only_this})
