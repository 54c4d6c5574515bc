"""The embedded engine's build: which devices it can calculate on.

SUMMARY
    `python -m batchd.edges.llamacpp_build` imports it and prints one JSON object; `read_build` runs that in a
    child, because a native library that does not fit the machine may take its process with it.

DIAGNOSTICS
    None raised: what it said, or that it said nothing in time.
"""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from batchd.core.doctor.server import BuildFacts
from batchd.core.json import dumps, loads

COMMAND = (sys.executable, "-P", "-m", "batchd.edges.llamacpp_build")

#: Importing the library and asking a driver for its devices.
ASK_S = 20.0


def embedded_version() -> str:
    """Empty where it is not installed."""
    try:
        return version("xllamacpp")
    except PackageNotFoundError:
        return ""


def read_build(is_chosen: bool, command: tuple[str, ...] = COMMAND) -> BuildFacts:
    """Its version and the kinds of its devices: `cpu`, `gpu`, `igpu`, `accel`."""
    installed = embedded_version()
    if not installed:
        return BuildFacts("", is_chosen=is_chosen)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_S, check=False
        )
        kinds = loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        return BuildFacts(installed, trouble=f"no answer within {ASK_S:.0f} s", is_chosen=is_chosen)
    except (OSError, ValueError) as error:
        return BuildFacts(installed, trouble=str(error), is_chosen=is_chosen)
    if not isinstance(kinds, list):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        trouble = said[-1] if said else f"it ended with {done.returncode}"
        return BuildFacts(installed, trouble=trouble, is_chosen=is_chosen)
    return BuildFacts(installed, tuple(map(str, kinds)), is_chosen=is_chosen)


def main() -> int:
    """The child."""
    import xllamacpp

    prefix = "GGML_BACKEND_DEVICE_TYPE_"
    kinds = [device["type"].name.removeprefix(prefix).lower() for device in xllamacpp.get_device_info()]
    sys.stdout.buffer.write(dumps(kinds) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
