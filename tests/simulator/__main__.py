"""The simulator as a program: `python -m tests.simulator --port 0`, or `serve` in Ollama's manner.

SUMMARY
    Prints `listening on http://127.0.0.1:PORT` when it is ready; ends on SIGTERM.
    `serve` takes OLLAMA_HOST and OLLAMA_NUM_PARALLEL from the environment; flags win.
    Every field of Settings that is a number or a text is a flag: `--load_s 0.2`.

DIAGNOSTICS
    Fatal: a port that is taken.
"""

import argparse
import asyncio
import os
import signal
import sys
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

from tests.simulator.server import Simulator
from tests.simulator.state import Settings

#: The fields that can be flags, by their type.
_PARSERS: dict[object, type] = {str: str, int: int, float: float, int | None: int}


def _parse(arguments: list[str]) -> tuple[str, int, Path | None, Settings]:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator")
    parser.add_argument("verb", nargs="?", choices=["serve"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    for field in fields(Settings):
        if (convert := _PARSERS.get(field.type)) is not None:
            parser.add_argument(f"--{field.name}", type=convert)
    given = vars(parser.parse_args(arguments))
    host, port = "127.0.0.1", given["port"]
    if given["verb"] == "serve":
        address = urlsplit(f"//{os.environ['OLLAMA_HOST'].removeprefix('http://')}")
        host, port = address.hostname or host, 11434 if address.port is None else address.port
        given["slots"] = given["slots"] or int(os.environ.get("OLLAMA_NUM_PARALLEL", "1"))
        given["log_lines"] = 1
    chosen = {
        field.name: given[field.name] for field in fields(Settings) if given.get(field.name) is not None
    }
    return host, port, given["log"], Settings(**chosen)


async def _serve(host: str, port: int, log: Path | None, settings: Settings) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    simulator = Simulator(settings, log)
    await simulator.start(host, port)
    print(f"listening on {simulator.address}", flush=True)
    await ended.wait()
    await simulator.stop()


if __name__ == "__main__":
    asyncio.run(_serve(*_parse(sys.argv[1:])))
