"""OllamaServer: Ollama, attached or our own, as the port `ModelServer`.

SUMMARY
    describe, load, unload, answer, restart, close     as the port says

    An attached server is never restarted, its service never changed: a restart puts the model out, an unload
    gives it back its five minutes. An own server is really restarted, and with other slots, which only its
    environment can set. What other clients load on an attached one is let be, for a while (`rivals`).

DIAGNOSTICS
    None raised: every failure is a ModelFault.
    Warning: a model that gets one slot although more were asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from loguru import logger

from batchd.core.body import answer_bytes_max
from batchd.core.fault import Category, ModelFault
from batchd.core.model import Answer, Load, Loaded, ServerDescription
from batchd.core.proxy import Proxy
from batchd.core.reply import text_or_empty
from batchd.core.request import Request
from batchd.edges.ollama.client import Exchanger
from batchd.edges.ollama.faults import runs_elsewhere
from batchd.edges.ollama.gate import Whose, users_of
from batchd.edges.ollama.listing import entries, find_listed, find_resident, read_loaded
from batchd.edges.ollama.own import OwnServer, ServerLog, with_log
from batchd.edges.ollama.resident import Resident, Terms, terms_for
from batchd.edges.ollama.rivals import Patience
from batchd.edges.ollama.wire import AT_WORK, Model, full_name, is_remote_name, preload_call, read_model

#: `/api/ps` may block for seconds while a runner goes; the others answer in milliseconds.
CONTROL_S = 15.0

#: To see whether a request failed because the memory was taken from it.
GLANCE_S = 5.0

#: A hung runner is gone five seconds after it was put out (measured); a busy one when its requests end.
PUT_OUT_S = 30.0

#: How often we look whether a model has gone.
LOOK_S = 0.1

_NOT_OLLAMA = "What answers there is not Ollama, or its address has a path that is none of Ollama's."


class Clock(Protocol):
    """Time, as `daemon/ports` has it."""

    def monotonic(self) -> float: ...

    async def sleep(self, duration_s: float) -> None: ...


class OllamaServer:
    """One Ollama server. `whose` says who listens at an address of this machine."""

    def __init__(
        self,
        host: str,
        mode: str,
        clock: Clock,
        allow_remote: bool = False,
        own: OwnServer | None = None,
        glance_s: float = GLANCE_S,
        proxy: Proxy | None = None,
        whose: Whose | None = None,
        log: ServerLog | None = None,
    ) -> None:
        self._host, self._proxy = host, proxy
        self._glance_s = glance_s
        self._mode = mode
        self._clock = clock
        self._allow_remote = allow_remote
        self._own = own
        self._whose = whose
        self._log = log if own is None else own
        self._clients: dict[int | None, Exchanger] = {}
        self._resident: Resident | None = None
        self._patience = None if own is not None else Patience(clock)

    def __repr__(self) -> str:
        name = self._resident.name if self._resident else "nothing"
        return f"<OllamaServer {self._mode} {self._host}: {name}>"

    async def describe(self, timeout_s: float) -> ServerDescription | ModelFault:
        if (fault := await self._reach(None)) is not None:
            return fault
        body = await self._control("GET", "/api/version", None, timeout_s)
        if isinstance(body, ModelFault):
            is_other = body.category is Category.SERVER and not body.is_server_lost
            return replace(body, message=f"{_NOT_OLLAMA} {body.message}") if is_other else body
        version = text_or_empty(body.get("version"))
        if not version:
            return ModelFault(Category.SERVER, _NOT_OLLAMA, is_temporary=True)
        address, users = self._client(None).address, await users_of(self._whose)
        return ServerDescription("ollama", version, self._mode, address, users)

    async def digests(self, models: Sequence[str], timeout_s: float) -> Mapping[str, str] | ModelFault:
        if (fault := await self._reach(None)) is not None:
            return fault
        body = await self._control("GET", "/api/tags", None, timeout_s)
        if isinstance(body, ModelFault):
            return body
        known = {
            text_or_empty(entry.get("name")): text_or_empty(entry.get("digest")) for entry in entries(body)
        }
        return {name: known[full_name(name)] for name in models if full_name(name) in known}

    async def load(self, load: Load, timeout_s: float) -> Loaded | ModelFault:
        name = load.model
        if is_remote_name(name) and not self._allow_remote:
            return runs_elsewhere(name)
        if (fault := await self._reach(load.slots)) is not None:
            return fault
        shown = await self._control("POST", "/api/show", {"model": name, "verbose": False}, CONTROL_S)
        if isinstance(shown, ModelFault):
            return shown
        model = read_model(name, shown)
        if model.is_remote and not self._allow_remote:
            return runs_elsewhere(name)
        if (last := self._resident) is not None and last.name != name:
            if last.terms.is_found:  # not ours to put out: Ollama does, where it must
                await self._control("POST", *last.farewell(), CONTROL_S)
            else:
                await self._put_out(last, PUT_OUT_S)
        is_yielding = self._patience is not None and self._patience.is_waiting
        if is_yielding and (rival := await self._rival(name, model, CONTROL_S)) is not None:
            return rival
        loaded = await self._bring_in(load, name, model, timeout_s)
        if isinstance(loaded, ModelFault):
            is_memory = loaded.category is Category.OOM
            return (await self._rival(name, model, CONTROL_S) if is_memory else None) or loaded
        if self._patience is not None:
            self._patience.end()
        return loaded

    async def _bring_in(self, load: Load, name: str, model: Model, timeout_s: float) -> Loaded | ModelFault:
        terms = await self._terms(load, model)
        if isinstance(terms, ModelFault):
            return terms
        if self._log is not None:
            self._log.follow()
        began = self._clock.monotonic()
        path, body = preload_call(name, terms.window_tokens, load.is_embedding, AT_WORK, terms.shift)
        answered = await self._control("POST", path, body, timeout_s)
        if isinstance(answered, ModelFault):
            return answered
        load_s = self._clock.monotonic() - began
        listing = await self._listing()
        if isinstance(listing, ModelFault):
            return listing
        listed = find_resident(listing, name, model)
        if listed is None:
            return ModelFault(Category.SERVER, "The model was gone right after its load.", is_temporary=True)
        listed_as = text_or_empty(listed.get("name"))
        self._resident = Resident(name, listed_as, model, terms, load.is_embedding)
        digests = await self.digests([name], CONTROL_S)
        if isinstance(digests, ModelFault):
            return digests
        loaded = read_loaded(name, digests.get(name, ""), listed, load, model, load_s)
        slots = self._slots_of(load, model)
        if slots >= load.slots:
            return loaded
        logger.bind(event="slots").warning(
            "Ollama gives this model slots: {}, not {} ({})", slots, load.slots, model.family
        )
        return replace(loaded, slots=slots)

    async def _terms(self, load: Load, model: Model) -> Terms | ModelFault:
        """A server of our own has no other users."""
        listing = await self._listing() if self._own is None and load.accepts_larger else {}
        if isinstance(listing, ModelFault):
            return listing
        listed = find_listed(listing, full_name(load.model))
        return terms_for(load, model.window_tokens_max, listed, self._resident)

    def _slots_of(self, load: Load, model: Model) -> int:
        """By the log where that is ours; else it is told by the family, which is all that the API shows."""
        told = self._own.slots_loaded() if self._own is not None else None
        return told or (1 if model.is_serial else load.slots)

    async def unload(self, timeout_s: float) -> None:
        resident, self._resident = self._resident, None
        if resident is None:
            return
        if self._own is not None:
            await self._put_out(resident, timeout_s)
            return
        listing = await self._listing()
        if not isinstance(listing, ModelFault) and find_listed(listing, resident.listed_as) is not None:
            await self._control("POST", *resident.farewell(), timeout_s)

    async def answer(self, request: Request, slot: int, timeout_s: float) -> Answer | ModelFault:
        resident = self._resident
        if resident is None:
            return ModelFault(Category.SERVER, "No model is loaded.", is_temporary=True, is_server_lost=True)
        call = resident.call(request)
        if isinstance(call, ModelFault):
            return call
        body = await self._client(slot).exchange(
            "POST", call[0], call[1], timeout_s, answer_bytes_max(request)
        )
        answer = body if isinstance(body, ModelFault) else resident.read(request, body)
        if isinstance(answer, Answer):
            return with_log(self._log, answer)
        is_gone = answer.is_server_lost and answer.category is not Category.NETWORK
        is_silent = answer.category is Category.TIMEOUT
        rival = await self._rival(resident.listed_as, None, self._glance_s, is_silent) if is_gone else None
        return rival or answer

    async def count_tokens(self, request: Request) -> int | None:
        return None  # it has no such call; what an answer costs is counted only with the answer

    async def restart(self, timeout_s: float) -> ModelFault | None:
        resident, self._resident = self._resident, None
        if self._own is not None:
            await self._own.stop()  # the next load starts it, with the slots that are asked for then
            return None
        if resident is None:
            described = await self.describe(timeout_s)
            return described if isinstance(described, ModelFault) else None
        return await self._put_out(resident, timeout_s)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()
        if self._log is not None:
            await self._log.stop()

    async def _put_out(self, resident: Resident, timeout_s: float) -> ModelFault | None:
        """Unload and wait until it has gone: the answer comes before the memory is free."""
        deadline = self._clock.monotonic() + timeout_s
        body = {"model": resident.name, "keep_alive": 0, "stream": False}
        answered = await self._control("POST", "/api/generate", body, timeout_s)
        if isinstance(answered, ModelFault):
            return answered
        while self._clock.monotonic() < deadline:
            listing = await self._listing()
            if isinstance(listing, ModelFault):
                return listing
            if find_listed(listing, resident.listed_as) is None:
                return None
            await self._clock.sleep(LOOK_S)
        message = f"The model was still in memory {timeout_s:g} s after it was put out."
        return ModelFault(Category.TIMEOUT, message, is_temporary=True, is_server_lost=True)

    async def _rival(
        self, name: str, model: Model | None, timeout_s: float, is_silent: bool = False
    ) -> ModelFault | None:
        """Whether another client's model is in memory, and ours is not: of this name, or like this one."""
        listing = None if self._patience is None else await self._listing(timeout_s)
        if self._patience is None or listing is None:
            return None
        if isinstance(listing, ModelFault):
            return self._patience.loading() if listing.category is Category.TIMEOUT else None
        if (find_listed(listing, name) if model is None else find_resident(listing, name, model)) is not None:
            return None
        return self._patience.met(listing, is_silent)

    async def _listing(self, timeout_s: float = CONTROL_S) -> Mapping[str, object] | ModelFault:
        return await self._control("GET", "/api/ps", None, timeout_s)

    async def _control(
        self, method: str, path: str, body: Mapping[str, object] | None, timeout_s: float
    ) -> Mapping[str, object] | ModelFault:
        answered = await self._client(None).exchange(method, path, body, timeout_s)
        if isinstance(answered, ModelFault | dict):
            return answered
        return ModelFault(Category.SERVER, "The answer is not a JSON object.", is_temporary=True)

    async def _reach(self, slots: int | None) -> ModelFault | None:
        """An own server must run, with these slots; its address may be a new one."""
        if self._own is None:
            return None
        address = await self._own.ensure(slots)
        if isinstance(address, ModelFault):
            return address
        if address != self._host:
            for client in self._clients.values():
                await client.close()
            self._clients.clear()
            self._host = address
        return None

    def _client(self, slot: int | None) -> Exchanger:
        """One for each slot, and one (None) for control calls, so that a full slot cannot block them."""
        if (client := self._clients.get(slot)) is None:
            client = self._clients[slot] = Exchanger(self._host, self._proxy, self._own or self._whose)
        return client
