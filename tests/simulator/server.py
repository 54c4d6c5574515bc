"""The simulated Ollama: the plain routes, and the switches of a test.

SUMMARY
    start, stop, `async with`     listens on a free port of loopback; `address` names it
    seen, counts                  what came in, what it cost
    kill_runner, hang, go_down, come_up, faults, set_memory     what a test can do to it
    POST /simulator/fault, GET /simulator/counts                the same, for the child process

DIAGNOSTICS
    Bug: see `bugs`; a test that ends with one should fail.
"""

import asyncio
import time
from collections import deque
from pathlib import Path
from types import TracebackType

from tests.simulator import texts
from tests.simulator.endpoints import Endpoints, reply, stamp
from tests.simulator.http import HttpReply, HttpRequest, HttpServer
from tests.simulator.log import RequestLog
from tests.simulator.models import ps_entry, show_body, tag_entry
from tests.simulator.routes import RefusedError, parse_body
from tests.simulator.runner import RunnerKilledError
from tests.simulator.scheduler import Scheduler
from tests.simulator.state import COUNTED_FAULTS, Counts, Faults, Seen, Settings


class Simulator:
    """One simulated server. `seen` is bounded by `Settings.seen_max`."""

    def __init__(self, settings: Settings | None = None, log_path: Path | None = None) -> None:
        self.settings = settings or Settings()
        self.counts = Counts()
        self.faults = Faults()
        self.seen: deque[Seen] = deque(maxlen=self.settings.seen_max)
        self.scheduler = Scheduler(self.settings, self.counts, self.faults)
        self.host, self.port = "127.0.0.1", 0
        self._log = RequestLog(log_path, self.seen)
        self._http = HttpServer(self._route)
        self._return: asyncio.TimerHandle | None = None
        endpoints = Endpoints(self.settings, self.counts, self.faults, self.scheduler, self._log)
        self._routes = {
            ("GET", "/"): self._root,
            ("GET", "/api/version"): self._version,
            ("GET", "/api/tags"): self._tags,
            ("GET", "/api/ps"): self._ps,
            ("POST", "/api/show"): self._show,
            ("POST", "/api/chat"): endpoints.chat,
            ("POST", "/api/generate"): endpoints.generate,
            ("POST", "/api/embed"): endpoints.embed,
            ("DELETE", "/api/delete"): self._delete,
            ("POST", "/simulator/fault"): self._fault,
            ("GET", "/simulator/counts"): self._counts,
        }

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def bugs(self) -> list[str]:
        return self._http.bugs

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, await self._http.listen(host, port)

    async def stop(self) -> None:
        await self._http.stop()
        self._log.close()

    async def __aenter__(self) -> "Simulator":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # What a test can do to it.

    def kill_runner(self) -> None:
        """SIGKILL of the runner: all in flight fail, `/api/ps` still lists it, the next request reloads."""
        self.scheduler.kill()

    def hang(self) -> None:
        """SIGSTOP of the runner: requests hang until it is put out."""
        self.scheduler.hang()

    def set_memory(self, memory_bytes: int | None) -> None:
        self.scheduler.memory_bytes = memory_bytes

    async def wait_for_in_flight(self, count: int) -> None:
        """Returns when so many requests are held; the caller sets the limit."""
        while self.counts.in_flight < count:  # noqa: ASYNC110 - counts change in many places
            await asyncio.sleep(0.002)

    async def go_down(self) -> None:
        """The server itself dies: connections are reset, new ones refused, models gone."""
        await self._http.stop()
        self.scheduler.forget()

    async def come_up(self) -> None:
        await self._http.listen(self.host, self.port)

    # Routing.

    async def _route(self, request: HttpRequest) -> HttpReply | None:
        route = self._routes.get((request.method, request.path))
        if route is None:
            return HttpReply(404, b"404 page not found", "text/plain")
        try:
            return await route(request)
        except RefusedError as refused:
            return reply(refused.status, {"error": refused.text})
        except RunnerKilledError:
            if request.path == "/api/embed":
                return reply(400, {"error": texts.EMBED_EOF})
            return reply(500, {"error": texts.EOF})

    async def _root(self, _: HttpRequest) -> HttpReply:
        return HttpReply(200, b"Ollama is running", "text/plain; charset=utf-8")

    async def _version(self, _: HttpRequest) -> HttpReply:
        return reply(200, {"version": self.faults.version or self.settings.version})

    async def _tags(self, _: HttpRequest) -> HttpReply:
        listed = [tag_entry(spec) for spec in self.settings.specs()]
        if self.settings.other_digests:
            for entry in listed:
                entry["digest"] = str(entry["digest"])[::-1]
        return reply(200, {"models": listed})

    async def _ps(self, _: HttpRequest) -> HttpReply:
        listed = []
        async with self.scheduler.unlisted:
            runners = self.scheduler.runners
        for runner in runners:
            expires_at = (
                "2319-03-03T01:18:31.7Z"
                if runner.keep_alive_s < 0
                else stamp(time.time_ns() / 1e9 + runner.keep_alive_s)
            )
            size, gpu = runner.size_bytes, runner.gpu_bytes
            listed.append(ps_entry(runner.spec, size, gpu, runner.window, expires_at))
        return reply(200, {"models": listed})

    async def _show(self, request: HttpRequest) -> HttpReply:
        body = parse_body(request.body)
        spec = self.scheduler.spec(str(body.get("model", "")))
        return reply(200, show_body(spec, bool(body.get("verbose"))))

    async def _delete(self, request: HttpRequest) -> HttpReply:
        self.scheduler.remove(str(parse_body(request.body).get("model", "")))
        return HttpReply(200, b"")

    async def _counts(self, _: HttpRequest) -> HttpReply:
        return reply(200, self.counts.as_dict() | {"bugs": self.bugs})

    async def _fault(self, request: HttpRequest) -> HttpReply:
        body = parse_body(request.body)
        kind = str(body["kind"])
        number = float(str(body.get("number") or 0))
        match kind:
            case "kill":
                self.kill_runner()
            case "hang":
                self.hang()
            case "memory":
                self.set_memory(int(number) or None)
            case "delay":
                self.faults.delays.append(number)
            case "poison":
                self.faults.poison[str(body["text"])] = str(body["strikes"])
            case "version":
                self.faults.version = str(body["text"])
            case "down":
                asyncio.get_running_loop().call_soon(self._fall, number)
            case _ if kind in COUNTED_FAULTS:
                setattr(self.faults, kind, int(number))
            case _:
                return reply(400, {"error": f"no fault is called {kind}"})
        return reply(200, {})

    def _fall(self, for_s: float) -> None:
        """Go down from within, and come back by a timer."""
        self._http.stop_listening()
        self._http.abort_connections()
        self.scheduler.forget()
        self._return = asyncio.get_running_loop().call_later(for_s, self._rise)

    def _rise(self) -> None:
        self._rising = asyncio.get_running_loop().create_task(self.come_up())
