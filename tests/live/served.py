"""A real Ollama that a test may mistreat: a server of its own, with models that point to the user's.

SUMMARY
    binary          the program that BATCHD_TEST_OLLAMA names; skips where it names none
    models_for      a model directory with links to what `smollm2:135m` needs
    owning          a daemon that starts one for itself
    Served          `ollama serve` on a free port, with a limit of its address space where one is given

DIAGNOSTICS
    AssertionError: it does not come up; skipped where the model is not there.
"""

import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.blows import descendants, ends, named
from tests.house import OURS, LivingDaemon

MODEL = "smollm2:135m"
OTHER = "other:1"

#: Where Ollama keeps what a name stands for.
MANIFEST = Path("manifests/registry.ollama.ai/library/smollm2/135m")

#: Where the file of weights says its own name; another name makes another file.
NAME = b"Smollm2 135M"

START_S = 60.0

#: One thread: several on a busy machine wait for each other. And nothing is asked of the network.
CALM = {"LLAMA_ARG_THREADS": "1", "OLLAMA_NO_CLOUD": "1"}

RUNNER = "llama-server"


def binary() -> Path:
    named = os.environ.get("BATCHD_TEST_OLLAMA")
    if named is None:
        pytest.skip("BATCHD_TEST_OLLAMA names no ollama binary; a server of somebody else is not killed")
    return Path(named)


def models_for(folder: Path) -> Path:
    """Links, so that nothing is written among the user's models."""
    home = Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama/models")
    if not (home / MANIFEST).is_file():
        pytest.skip(f"{home} has no {MODEL}")
    manifest = json.loads((home / MANIFEST).read_bytes())
    models = folder / "models"
    (models / MANIFEST).parent.mkdir(parents=True)
    (models / MANIFEST).write_bytes((home / MANIFEST).read_bytes())
    (models / "blobs").mkdir()
    for layer in (manifest["config"], *manifest["layers"]):
        name = layer["digest"].replace(":", "-")
        (models / "blobs" / name).symlink_to(home / "blobs" / name)
    return models


def environment(models: Path, **more: str) -> dict[str, str]:
    """What the tester has set for another Ollama is not what this one sees."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    ours = {"HOME": str(models.parent), "OLLAMA_MODELS": str(models), "OLLAMA_NOPRUNE": "1"}
    return kept | ours | CALM | more


@contextmanager
def owning(
    folder: Path, models: Path, slots: int, program: Path | None = None, **more: str
) -> Iterator[LivingDaemon]:
    """A daemon whose Ollama is its own."""
    with LivingDaemon(
        folder / "spool",
        HOME=str(folder),
        **CALM,
        BATCHD_OLLAMA__MODE="own",
        BATCHD_OLLAMA__BINARY=str(program or binary()),
        BATCHD_OLLAMA__MODELS_DIR=str(models),
        BATCHD_SLOTS=str(slots),
        BATCHD_PROFILES=str(folder / "profiles"),
        **more,
    ) as daemon:
        yield daemon


class Served:
    """Starts with the block, ends with it."""

    def __init__(self, models: Path, address_space_bytes: int | None = None, **more: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{probe.getsockname()[1]}"
        self.log_path = models.parent / "ollama.log"
        self._models = models
        self._environment = environment(models, OLLAMA_HOST=self.host, **more)
        self._limit_bytes = address_space_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Served":
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [binary(), "serve"], env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if self._limit_bytes is not None:
            self.limit(self._limit_bytes)
        until = time.perf_counter() + START_S
        while not self._is_up():
            assert self._process.poll() is None, self.log_path.read_text()
            assert time.perf_counter() < until, "the Ollama binary does not answer"
            time.sleep(0.2)
        return self

    def __exit__(self, *reason: object) -> None:
        assert self._process is not None
        runners = descendants(self.pid)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        for pid in runners:
            if not ends([pid], 0.5):
                os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def limit(self, address_space_bytes: int) -> None:
        """From now on, for each runner that it starts."""
        resource.prlimit(self.pid, resource.RLIMIT_AS, (address_space_bytes, resource.RLIM_INFINITY))

    def runner(self) -> int | None:
        return next(iter(named(descendants(self.pid), RUNNER)), None)

    def ask(self, path: str, body: object, timeout_s: float = 300.0) -> dict[str, object]:
        reply = httpx.post(f"http://{self.host}{path}", json=body, timeout=timeout_s, trust_env=False)
        assert reply.status_code == 200, reply.text
        found: dict[str, object] = reply.json()
        return found

    def make_other(self) -> None:
        """The same weights under another name inside of the file: for Ollama, another model."""
        manifest = json.loads((self._models / MANIFEST).read_bytes())
        digest = next(one["digest"] for one in manifest["layers"] if one["mediaType"].endswith("image.model"))
        weights = (self._models / "blobs" / digest.replace(":", "-")).read_bytes()
        assert weights.count(NAME) == 1
        other = weights.replace(NAME, NAME[::-1])
        digest = "sha256:" + hashlib.sha256(other).hexdigest()
        sent = httpx.post(
            f"http://{self.host}/api/blobs/{digest}", content=other, timeout=120, trust_env=False
        )
        assert sent.status_code == 201, sent.text
        self.ask("/api/create", {"model": OTHER, "files": {"other.gguf": digest}, "stream": False})

    def _is_up(self) -> bool:
        try:
            reply = httpx.get(f"http://{self.host}/api/version", timeout=2, trust_env=False)
        except httpx.HTTPError:
            return False
        return reply.status_code == 200
