"""The three endpoints that answer: chat, generate, embed.

SUMMARY
    Endpoints    checks in Ollama's order, then memory, then a slot; the body as recorded

DIAGNOSTICS
    RefusedError, RunnerKilledError: turned into a status by the server.
"""

import time
from collections.abc import Mapping
from random import Random

import orjson

from tests.simulator import texts
from tests.simulator.answers import compose, embed, log_probabilities, tag_of, tokens_in
from tests.simulator.http import HttpReply, HttpRequest
from tests.simulator.log import RequestLog
from tests.simulator.routes import (
    RefusedError,
    bound_answer,
    check_capabilities,
    check_form,
    check_length,
    check_messages,
    fit_messages,
    last_user_text,
    parse_body,
    parse_keep_alive,
    parse_options,
    render_chat,
)
from tests.simulator.runner import Reading, Runner, RunnerKilledError
from tests.simulator.scheduler import Scheduler
from tests.simulator.state import Counts, Faults, Settings


def reply(status: int, value: object) -> HttpReply:
    return HttpReply(status, orjson.dumps(value))


def stamp(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) + ".000000001Z"


def _now() -> str:
    return stamp(time.time_ns() / 1e9)


class Endpoints:
    """What asks the model."""

    def __init__(
        self, settings: Settings, counts: Counts, faults: Faults, scheduler: Scheduler, log: RequestLog
    ) -> None:
        self.settings = settings
        self.counts = counts
        self.faults = faults
        self.scheduler = scheduler
        self._log = log
        self._random = Random(settings.seed)

    async def chat(self, request: HttpRequest) -> HttpReply | None:
        body = parse_body(request.body)
        messages = check_messages(body)
        tag = tag_of(last_user_text(messages)) if messages else None
        self._log.note(request.path, tag, body)
        spec = self.scheduler.spec(str(body.get("model", "")))
        keep_alive_s = parse_keep_alive(body.get("keep_alive"))
        frame = {
            "model": body["model"],
            "created_at": _now(),
            "message": {"role": "assistant", "content": ""},
        }
        if not messages and keep_alive_s == 0:
            await self.scheduler.put_out(spec)
            return reply(200, frame | {"done": True, "done_reason": "unload"})
        check_capabilities(spec, body, "chat")
        if body.get("_debug_render_only"):
            return reply(
                200,
                frame
                | {"message": {"role": "", "content": ""}, "done": False}
                | {"_debug_info": {"rendered_template": render_chat(messages)}},
            )
        async with self.scheduler.use(spec, body, keep_alive_s, count=bool(messages)) as (runner, load_ns):
            if not messages:
                return reply(200, frame | {"done": True, "done_reason": "load"})
            if any(message.get("images") for message in messages):
                raise RefusedError(400, texts.llama_error(texts.NO_IMAGES, "invalid_request_error"))
            prompt = fit_messages(messages, body, runner.window)
            text, end = await self._answer(runner, prompt, last_user_text(messages), body, load_ns)
            thinking = {"thinking": f"thinking of {text[:12]}"} if _thinks(spec.capabilities, body) else {}
            message = {"role": "assistant", "content": text, **thinking}
            return self._finish(frame | {"message": message} | _logprobs(text, body), end)

    async def generate(self, request: HttpRequest) -> HttpReply | None:
        body = parse_body(request.body)
        prompt = str(body.get("prompt") or "")
        self._log.note(request.path, tag_of(prompt) if prompt else None, body)
        spec = self.scheduler.spec(str(body.get("model", "")))
        keep_alive_s = parse_keep_alive(body.get("keep_alive"))
        frame = {"model": body["model"], "created_at": _now(), "response": ""}
        if not prompt and keep_alive_s == 0:
            await self.scheduler.put_out(spec)
            return reply(200, frame | {"done": True, "done_reason": "unload"})
        check_capabilities(spec, body, "generate")
        async with self.scheduler.use(spec, body, keep_alive_s, count=bool(prompt)) as (runner, load_ns):
            if not prompt:
                return reply(200, frame | {"done": True, "done_reason": "load"})
            rendered = prompt if body.get("raw") else render_chat([{"role": "user", "content": prompt}])
            check_length(rendered, runner.window)
            text, end = await self._answer(runner, rendered, prompt, body, load_ns)
            return self._finish(frame | {"response": text}, end)

    async def embed(self, request: HttpRequest) -> HttpReply | None:
        body = parse_body(request.body)
        given = body.get("input") or []
        inputs = [str(text) for text in given] if isinstance(given, list) else [str(given)]
        self._log.note(request.path, tag_of(inputs[0]) if inputs else None, body)
        spec = self.scheduler.spec(str(body.get("model", "")))
        keep_alive_s = parse_keep_alive(body.get("keep_alive"))
        async with self.scheduler.use(spec, body, keep_alive_s, count=bool(inputs)) as (runner, load_ns):
            if not inputs:
                return reply(200, {"model": body["model"], "embeddings": []})
            if body.get("truncate") is False and any(tokens_in(text) > runner.window for text in inputs):
                raise RefusedError(400, texts.EMBED_TOO_LONG)
            if "embedding" not in spec.capabilities:
                raise RefusedError(501, texts.NO_EMBEDDINGS)
            return await self._embed_all(runner, inputs, body, load_ns)

    async def _embed_all(
        self, runner: Runner, inputs: list[str], body: Mapping[str, object], load_ns: int
    ) -> HttpReply | None:
        length = int(str(body.get("dimensions") or runner.spec.embedding_length))
        tokens = 0
        for text in inputs:
            await self._strike(runner, text)
            tokens += (await self._run(runner, text, "", 0)).prompt_tokens
        self.counts.answers += 1
        self.counts.prompt_tokens += tokens
        self.counts.evaluated_tokens += tokens
        vectors = [embed(text, length) for text in inputs]
        end: dict[str, object] = {
            "total_duration": load_ns + 1,
            "load_duration": load_ns,
            "prompt_eval_count": tokens,
        }
        return self._finish({"model": body["model"], "embeddings": vectors}, end)

    # One answer.

    async def _answer(
        self, runner: Runner, prompt: str, last_text: str, body: Mapping[str, object], load_ns: int
    ) -> tuple[str, dict[str, object]]:
        options = parse_options(body)
        whole = compose(last_text, self.settings.answer_tokens, check_form(body))
        text, tokens, reason = bound_answer(whole, options, runner.window - tokens_in(prompt))
        if self.settings.mute and options.answer_tokens_max != 1:
            text, tokens, reason = "", 1, "stop"
        if self.settings.dated:
            prompt = f"{self._random.random()} {prompt}"
        started = time.perf_counter_ns()
        await self._strike(runner, prompt)
        reading = await self._run(runner, prompt, text, tokens)
        self.counts.answers += 1
        self.counts.prompt_tokens += reading.prompt_tokens
        evaluated = reading.prompt_tokens - reading.cached_tokens
        self.counts.evaluated_tokens += evaluated
        if self.settings.log_lines:
            durations = reading.prefill_ns / 1e6, reading.decode_ns / 1e6
            print(
                texts.timing_lines(reading.slot, self.counts.answers, *durations, evaluated, tokens),
                flush=True,
            )
        return text, self._end(reading, tokens, reason, load_ns, time.perf_counter_ns() - started)

    async def _run(self, runner: Runner, prompt: str, text: str, tokens: int) -> Reading:
        chance = self._random.random() if self.settings.spike_share else 1.0
        try:
            return await runner.answer(prompt, text, tokens, self._delay_s(), chance)
        except RunnerKilledError:
            if runner.dies_of_memory and not self.settings.dies_silently:
                raise RefusedError(500, f"{texts.WHILE_RUNNING}{texts.CUDA_OOM}") from None
            raise

    def _end(
        self, reading: Reading, tokens: int, reason: str, load_ns: int, wall_ns: int
    ) -> dict[str, object]:
        cached = {"prompt_eval_cached_count": reading.cached_tokens} if self.settings.reports_cached else {}
        return {
            "done": True,
            "done_reason": reason,
            "total_duration": load_ns + wall_ns,
            "load_duration": load_ns,
            "prompt_eval_count": reading.prompt_tokens,
            **cached,
            "prompt_eval_duration": reading.prefill_ns,
            "eval_count": tokens,
            "eval_duration": reading.decode_ns,
        }

    def _delay_s(self) -> float:
        if self.faults.delays:
            return self.faults.delays.popleft()
        jitter_s = self.settings.jitter_s
        return self.settings.delay_s + (self._random.uniform(-jitter_s, jitter_s) if jitter_s else 0.0)

    async def _strike(self, runner: Runner, prompt: str) -> None:
        """Let a poison in the prompt do its work on the runner."""
        match self.faults.poison_in(prompt):
            case "kill":
                runner.kill()
            case "hang":
                runner.hung = True
            case "oom":
                runner.kill()
                raise RefusedError(500, f"{texts.WHILE_RUNNING}{texts.CUDA_OOM}")
            case "undone" | "garbage" | "drop" as name:
                setattr(self.faults, name, getattr(self.faults, name) + 1)
            case None:
                return
            case "held":
                while not self.faults.is_released:
                    await runner.pause(0.01)
            case name if name.startswith("late "):
                await runner.pause(float(name.removeprefix("late ")))
            case name:
                raise ValueError(f"no poison is called {name}")

    def _finish(self, body: dict[str, object], end: dict[str, object]) -> HttpReply | None:
        if self.faults.take("drop"):
            return None
        if self.faults.take("garbage"):
            return HttpReply(200, b'{"model": "smollm2:135m", "mess')
        if self.faults.take("crossed"):
            body = body | {"model": "somebody:else"}
        if self.faults.take("undone"):
            return reply(200, body | {"done": False})
        return reply(200, body | end)


def _logprobs(text: str, body: Mapping[str, object]) -> dict[str, object]:
    if not body.get("logprobs"):
        return {}
    return {"logprobs": log_probabilities(text, int(str(body.get("top_logprobs") or 0)))}


def _thinks(capabilities: tuple[str, ...], body: Mapping[str, object]) -> bool:
    """Thinking is on where the model can and nobody said no."""
    return "thinking" in capabilities and body.get("think") is not False
