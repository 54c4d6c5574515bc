"""The layers: what flags, environment and file say, as flat dotted names.

SUMMARY
    Each layer becomes a mapping from names such as `ollama.mode` to raw values; nothing is checked here but
    the names. A name that is not known is refused with the nearest known one: a misspelt limit that is
    silently ignored is a wrong answer.

    A setting that is itself a table (`model_aliases`, `llamacpp.models`) is one name. Its keys are the
    operator's own, so they are written whole in TOML, and as a JSON object in the environment.

DIAGNOSTICS
    Fatal: ConfigError for an unknown name, a table where a value belongs, or a file that cannot be read.
"""

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from batchd.errors import ConfigError

PREFIX = "BATCHD_"


def flag_layer(flags: Mapping[str, object], names: Collection[str]) -> dict[str, object]:
    """What was given on the command line; None is an option that was not."""
    given = {name: value for name, value in flags.items() if value is not None}
    for name in given:
        if name not in names:
            raise _unknown("option", name, names)
    return given


def environment_layer(
    environ: Mapping[str, str], names: Collection[str], tables: Collection[str]
) -> dict[str, object]:
    """Every BATCHD_ variable. An empty one counts as not set, as is the custom of unit files."""
    by_variable = {_variable(name): name for name in names}
    layer: dict[str, object] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX):
            continue
        name = by_variable.get(variable)
        if name is None:
            raise _unknown("environment variable", variable, by_variable)
        if environ[variable] != "":
            layer[name] = _table(variable, environ[variable]) if name in tables else environ[variable]
    return layer


def file_layer(path: Path | None, names: Collection[str]) -> dict[str, object]:
    """What the TOML file says."""
    if path is None:
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The configuration file {path} cannot be read: {error.strerror}.",
            "Name another with --config, or mend its permissions.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The configuration file {path} is not TOML: {error}.", "Mend that line."
        ) from error
    sections = {name.rpartition(".")[0] for name in names if "." in name}
    layer = dict(_leaves(content, sections))
    for name in layer:
        if name not in names:
            raise _unknown(f"setting in {path}", name, {*names, *sections})
    return layer


def nested(flat: Mapping[str, object]) -> dict[str, Any]:
    """Dotted names, as the tables that the model takes."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, key = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[key] = value
    return tree


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace(".", "__")


def _table(variable: str, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"The environment variable {variable} is not a JSON object.",
            f'Write it as {variable}=\'{{"name": "value"}}\'.',
        ) from error


def _leaves(
    content: Mapping[str, object], sections: Collection[str], above: str = ""
) -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        name = above + key
        if name not in sections:
            yield name, value  # a table here is a setting's own, or not known
        elif isinstance(value, dict):
            yield from _leaves(value, sections, name + ".")
        else:
            raise ConfigError(
                f"'{name}' is a section, not a value.", f"Write [{name}] and its settings below."
            )


def _unknown(what: str, name: str, names: Collection[str]) -> ConfigError:
    elsewhere = [known for known in names if known.rpartition(".")[2] == name]  # right key, wrong section
    near = elsewhere or get_close_matches(name, names, 1, 0.5)
    hint = f"Did you mean '{near[0]}'?" if near else "`batchd config` lists every known name."
    return ConfigError(f"Unknown {what}: '{name}'.", hint)
