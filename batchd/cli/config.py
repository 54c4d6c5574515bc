"""`batchd config`: the effective settings, where each came from, and what is wrong with them.

SUMMARY
    Called by a person before the daemon is. What the settings refuse by themselves is told as it would end
    every other verb; besides, the files that they name are looked for.

DIAGNOSTICS
    Fatal: ConfigError, and exit code 78 for every other finding too.
"""

from pathlib import Path
from typing import Annotated

import typer

from batchd.cli.terminal import ConfigOption, JsonOption, put, put_json, put_table, say, say_error
from batchd.errors import ConfigError
from batchd.settings import Settings, load_settings, sources


def config(
    config: ConfigOption = None,
    check: Annotated[bool, typer.Option("--check", help="Only what is wrong, no table.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show the settings and what is wrong with them.

    Each is shown with where it came from: a flag, the environment, a file, or the default.

    \b
    Example:
      BATCHD_SLOTS=8 batchd config
      batchd config --config batchd.toml --check
    """
    origins = sources({}, config)
    wrong = _wrong(config)
    if as_json:
        rows = [] if check else origins
        put_json(
            {
                "settings": {row.name: {"value": row.value, "source": row.source} for row in rows},
                "wrong": [error.message for error in wrong],
            }
        )
    elif not check:
        put_table(("setting", "value", "from"), ((row.name, row.value, row.source) for row in origins))
    for error in wrong:
        say_error(error)
    if not wrong and not as_json:
        (put if check else say)("Nothing is wrong with these settings.")
    return ConfigError.exit_code if wrong else 0


def _wrong(config: Path | None) -> list[ConfigError]:
    try:
        settings = load_settings({}, config)
    except ConfigError as error:
        return [error]
    return [*_absent_files(settings), *_no_model(settings)]


def _absent_files(settings: Settings) -> list[ConfigError]:
    embedded = settings.llamacpp
    named = {
        "ollama.binary": settings.ollama.binary,
        "ollama.models_dir": settings.ollama.models_dir,
        "llamacpp.gguf": embedded.gguf,
        **{f"llamacpp.models, '{name}'": path for name, path in embedded.models.items()},
    }
    return [
        ConfigError(f"Setting {name}: there is no {path}.", "Mend the path, or bring the file there.")
        for name, path in named.items()
        if path is not None and not path.exists()
    ]


def _no_model(settings: Settings) -> list[ConfigError]:
    embedded = settings.llamacpp
    if settings.engine != "llamacpp" or embedded.models or embedded.gguf or embedded.url:
        return []
    return [
        ConfigError(
            "The engine is llamacpp, and nothing says which model it shall load.",
            "Set llamacpp.models, llamacpp.gguf or llamacpp.url.",
        )
    ]
