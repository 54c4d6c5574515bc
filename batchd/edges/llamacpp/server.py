"""The port ModelServer, over llama-server's HTTP.

SUMMARY
    Embedded: each load starts a child of ours from a GGUF file (`start_child`, handed in by the app) and ends
    the former one. The model's name in a request picks the file; `any_gguf` answers every name.
    By url: a llama-server that the user runs. It cannot be loaded or restarted from here, so `load` checks
    that what it has suffices, and its model answers only to its own names.

DIAGNOSTICS
    None raised: every trouble is a ModelFault.
    Bug: an embedded server without `start_child`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from batchd.core.body import answer_bytes_max, told_bytes_max
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription
from batchd.core.proxy import Proxy
from batchd.core.request import Endpoint, Request
from batchd.edges.llamacpp import faults, wire
from batchd.edges.llamacpp.http import QUESTION_S, Child, Route, Socket
from batchd.edges.llamacpp.props import Props
from batchd.edges.llamacpp.snapshots import Snapshots

#: Where a child will listen; its port is chosen when it starts.
LOOPBACK = "http://127.0.0.1"

#: Starts a child with this file; one that could not load is returned too, ended. TimeoutError at the limit.
StartChild = Callable[[Path, Load, float], Awaitable[Child]]


class LlamaServer:
    """One llama.cpp server: `url` of one that runs, or `start_child` with the files it may load.

    `sockets_of` finds the listening sockets of a child: at its address nobody else is believed.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, Path] | None = None,
        any_gguf: Path | None = None,
        start_child: StartChild | None = None,
        sockets_of: Callable[[int], Sequence[Socket]] | None = None,
        url: str | None = None,
        key: str = "",
        proxy: Proxy | None = None,
        snapshots_in: Path | None = None,
        snapshot_bytes_max: int = 0,
    ) -> None:
        self._models = dict(models or {})
        self._any_gguf = any_gguf
        self._start_child = start_child
        self._sockets_of = sockets_of
        self._route = Route(url, key, proxy)
        self._snapshots = (
            Snapshots(snapshots_in, snapshot_bytes_max, self._move) if snapshots_in is not None else None
        )
        self._load: Load | None = None
        self._loaded: Loaded | None = None
        self._can_think = False
        self._digests: dict[Path, tuple[tuple[int, int], str]] = {}

    def __repr__(self) -> str:
        return f"<LlamaServer {self._route.url or self._route.child or 'without child'}>"

    async def describe(self, timeout_s: float) -> ServerDescription | ModelFault:
        if self._route.url is not None:
            props = await self._route.props(timeout_s)
            if isinstance(props, ModelFault):
                return props
            return ServerDescription("llamacpp", props.build, "url", self._route.url)
        try:
            release = version("xllamacpp")
        except PackageNotFoundError:
            return faults.out_of_order("the embedded engine is not installed: pip install 'batchd[embedded]'")
        address = self._route.child.address if self._route.child is not None else LOOPBACK
        return ServerDescription("llamacpp", release, "child", address)

    async def digests(self, models: Sequence[str], timeout_s: float) -> Mapping[str, str] | ModelFault:
        if self._route.url is not None:
            props = await self._route.props(timeout_s)
            if isinstance(props, ModelFault):
                return props
            return {name: props.fingerprint for name in models if name in props.names}
        paths = {name: self._models.get(name, self._any_gguf) for name in models}
        return {
            name: await self._digest(path)
            for name, path in paths.items()
            if path is not None and path.is_file()
        }

    async def load(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
        if self._route.url is None and self._is_resident(load) and self._loaded is not None:
            return self._loaded
        try:
            async with asyncio.timeout(timeout_s):
                if self._route.url is not None:
                    return await self._accept(load)
                return await self._bring_in(load, timeout_s)
        except TimeoutError:
            said = f"the model was not loaded after {timeout_s:.0f} s"
            return ModelFault(Category.TIMEOUT, said, is_temporary=True, is_server_lost=True)

    async def unload(self, timeout_s: float) -> None:
        if self._route.url is None:
            await self._put_out(timeout_s)

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        if self._loaded is None:
            return ModelFault(Category.SERVER, "no model is loaded", is_temporary=True, is_server_lost=True)
        refused = wire.refuse(request, self._can_think)
        if refused is not None:
            return refused
        window_tokens = self._loaded.window_tokens
        slot %= self._loaded.slots  # with one that it does not have, the server would choose by itself
        prefix, snapshots = request.prefix, self._snapshots
        try:
            is_restored = snapshots is not None and await snapshots.prepare(slot, prefix)
            path, body = wire.PATHS[request.endpoint], wire.body_of(request, slot)
            raw = await self._route.ask("POST", path, timeout_s, body, answer_bytes_max(request))
        except asyncio.CancelledError:
            if snapshots is not None:
                snapshots.lost(slot)
            raise
        answer = raw if isinstance(raw, ModelFault) else wire.answer_of(request, raw, window_tokens)
        if snapshots is not None and isinstance(answer, ModelFault):
            snapshots.lost(slot)
        elif snapshots is not None and isinstance(answer, Answer):
            await snapshots.answered(slot, prefix, answer.usage, is_restored)
        return answer

    async def restart(self, timeout_s: float) -> ModelFault | None:
        if self._route.url is not None:
            health = await self._route.ask("GET", "/health", timeout_s)
            return health if isinstance(health, ModelFault) else None
        if self._route.child is not None:
            self._route.child.kill()
        await self._put_out(timeout_s)
        return None

    async def close(self) -> None:
        if self._route.url is None:
            await self._put_out(QUESTION_S)
        await self._route.close()

    async def forget(self, batch_id: str) -> None:
        """The batch is done: so are the snapshots of its prefixes."""
        if self._snapshots is not None:
            await self._snapshots.forget(batch_id)

    async def _move(self, slot: int, action: str, name: str, timeout_s: float) -> ModelFault | None:
        """Save or restore what a slot holds."""
        path = f"/slots/{slot}?action={action}"
        moved = await self._route.question("POST", path, {"filename": name}, timeout_s)
        return moved if isinstance(moved, ModelFault) else None

    async def count_tokens(self, request: Request) -> int | None:
        """The prompt's tokens, exactly; None where the server cannot tell."""
        texts = list(request.inputs)
        if request.endpoint is Endpoint.CHAT:
            words = wire.chat_words(request)
            text_bytes = sum(len(message.text.encode()) for message in request.messages)
            rendered = await self._route.question(
                "POST", "/apply-template", words, bytes_max=told_bytes_max(text_bytes)
            )
            if isinstance(rendered, ModelFault) or not isinstance(rendered.get("prompt"), str):
                return None
            texts = [str(rendered["prompt"])]
        count = 0
        for text in texts:
            body = {"content": text, "add_special": True, "parse_special": True}
            bytes_max = told_bytes_max(len(text.encode()))
            tokenized = await self._route.question("POST", "/tokenize", body, bytes_max=bytes_max)
            tokens = None if isinstance(tokenized, ModelFault) else tokenized.get("tokens")
            if not isinstance(tokens, list):
                return None
            count += len(tokens)
        return count

    def _is_resident(self, load: Load) -> bool:
        return self._route.child is not None and self._route.child.exit_code() is None and self._load == load

    async def _bring_in(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
        gguf = self._models.get(load.model, self._any_gguf)
        if gguf is None:
            return _unknown_model(load.model, self._models, "name its file: llamacpp.models, or --gguf FILE")
        if not gguf.is_file():
            return faults.out_of_order(f"the model file {gguf} is not there")
        await self._put_out(timeout_s)
        assert self._start_child is not None, "an embedded server needs start_child"
        clock = asyncio.get_running_loop().time
        began = clock()
        child = await self._start_child(gguf, load, timeout_s)
        exit_code = child.exit_code()
        if exit_code is not None:
            reason = child.exit_reason()
            await child.stop()
            return faults.fault_of_load(reason, exit_code)
        self._route.child, self._load = child, load
        if self._sockets_of is not None:
            held = await asyncio.to_thread(self._sockets_of, child.pid)
            self._route.socket = next((item for item in held if item.address == child.address), None)
            if self._route.socket is None:
                said = f"the child does not listen at {child.address}, where it says that it does"
                return ModelFault(Category.SERVER, said, is_temporary=True)
        load_s = clock() - began
        props = await self._route.props(QUESTION_S)
        if isinstance(props, ModelFault):
            return props
        if props.slots != load.slots:
            said = f"the server was started with {load.slots} slots and has {props.slots}"
            return ModelFault(Category.SERVER, said, is_temporary=True)
        digest = await self._digest(gguf)
        if self._snapshots is not None:
            await self._snapshots.begin(digest, props.window_tokens)
        return self._settle(load, props, digest, load_s)

    async def _accept(self, load: Load) -> Loaded | ModelFault:
        props = await self._route.props(QUESTION_S)
        if isinstance(props, ModelFault):
            return props
        if load.model not in props.names:
            return _unknown_model(
                load.model, props.names, f"{self._route.url} serves another; use --model or model_aliases"
            )
        if props.slots < load.slots:
            return faults.out_of_order(
                f"{self._route.url} has {props.slots} slots, {load.slots} are wanted:"
                f" set slots = {props.slots}, or start it with -np {load.slots}"
            )
        # A smaller window than was wished is what it has: only the requests that do not fit will fail.
        return self._settle(load, props, props.fingerprint, 0.0)

    def _settle(self, load: Load, props: Props, digest: str, load_s: float) -> Loaded:
        self._can_think = wire.can_think(props.template)
        trained = props.window_tokens_max
        self._loaded = Loaded(
            model=load.model,
            digest=digest,
            quantization=props.quantization,
            window_tokens=props.window_tokens,
            slots=props.slots if self._route.url is None else load.slots,
            size_bytes=None,
            gpu_bytes=None,
            window_tokens_max=trained if self._route.url is None else props.window_tokens,
            load_s=load_s,
            is_window_fixed=self._route.url is not None,
        )
        return self._loaded

    async def _put_out(self, timeout_s: float) -> None:
        child, self._route.child, self._loaded, self._load = self._route.child, None, None, None
        self._route.socket = None
        if child is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await child.stop()
        except TimeoutError:
            child.kill()

    async def _digest(self, gguf: Path) -> str:
        stat = gguf.stat()
        version_now = (stat.st_size, stat.st_mtime_ns)
        known = self._digests.get(gguf)
        if known is None or known[0] != version_now:
            known = (version_now, "sha256:" + await asyncio.to_thread(_sha256, gguf))
            self._digests[gguf] = known
        return known[1]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unknown_model(name: str, known: Mapping[str, object] | frozenset[str], step: str) -> ModelFault:
    names = ", ".join(sorted(known)) or "none"
    said = f"the model '{name}' is not known here (known: {names}); {step}"
    return ModelFault(Category.MODEL, said, is_temporary=False, code="model_not_found")
