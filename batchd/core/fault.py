"""Faults: why a line or an attempt did not succeed, as values.

SUMMARY
    `LineFault` is the submitter's: found by reading the line, before any model sees it.
    `Refusal` is the submitter's too, and fails the whole batch.
    `ModelFault` is the model server's: an attempt was made and gave no answer.
    Neither is an exception, because both are expected; a `match` must handle them.

    The categories are what a submitter sees in `errors.jsonl` and what `metrics.json` counts.

DIAGNOSTICS
    None: values only.
"""

from dataclasses import dataclass
from enum import StrEnum

from batchd.core.schema import Breach


class Category(StrEnum):
    """What kind of trouble it was, in the words of the results."""

    OOM = "oom"
    TIMEOUT = "timeout"
    MODEL = "model"
    NETWORK = "network"
    VALIDATION = "validation"
    CONTEXT_LENGTH = "context_length"
    CRASH = "crash"
    RUNAWAY = "runaway"
    SERVER = "server"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    INVALID_ANSWER = "invalid_answer"


#: A server's text in a log and a status: enough to know it again.
TOLD_CHARS_MAX = 300

#: Categories whose request never got an answer: their error lines have `response: null`. The others were
#: refused by us or by the model, and have `response.status_code` 400 with OpenAI's error body.
UNANSWERED = frozenset(
    {
        Category.OOM,
        Category.TIMEOUT,
        Category.NETWORK,
        Category.CRASH,
        Category.RUNAWAY,
        Category.SERVER,
        Category.EXPIRED,
        Category.CANCELLED,
        Category.INVALID_ANSWER,
    }
)


#: What drivers and allocators write when memory is short, in lower case; Ollama searches for the same. Both
#: engines pass such texts on. The kernel's OOM killer leaves none.
OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "out-of-memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "vk_error_out_of_device_memory",
    "erroroutofmemory",
    "std::bad_alloc",
)


@dataclass(frozen=True, slots=True)
class LineFault:
    """One refused request line. `custom_id` is None where it cannot be read; `line` counts from 1."""

    line: int
    code: str
    message: str
    param: str | None = None
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a whole batch fails, as it stands in `errors.data` of `batch.json`."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An answer that is not what was asked for, and what is wrong with it; `core/validity` makes it."""

    breach: Breach
    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class ModelFault:
    """One attempt without an answer.

    `is_temporary`: another attempt may succeed. `is_server_lost`: the model server (or the runner behind
    it) is gone or hangs, so every request it held failed with this one. `needs_operator`: the set-up is wrong
    (a key, a damaged model file), so nothing will be answered until a person mends it, and no request is to
    blame. `code` is the code of the error line. The two token counts are given by an overflow answer: what
    the prompt has, what the window held. `taken_by`: the model of another client that has the memory.
    `rejected`: the answer that there was, where it was no good.

    Of a server that refuses for now: `is_crowded` says that it has too many requests, `retry_after_s` how
    long it asked to be left alone; `is_own` was found afterwards: it worked for others meanwhile, so it is
    this request that is refused. `masked` is the message without the prompt's own words, where one was sent.
    """

    category: Category
    message: str
    is_temporary: bool
    is_server_lost: bool = False
    needs_operator: bool = False
    code: str | None = None
    prompt_tokens: int | None = None
    window_tokens: int | None = None
    taken_by: str | None = None
    rejected: Rejected | None = None
    is_crowded: bool = False
    retry_after_s: float | None = None
    is_own: bool = False
    masked: str | None = None

    @property
    def told(self) -> str:
        """What may stand in a log, a status, an event: the rest of it is the submitter's alone."""
        return (self.message if self.masked is None else self.masked)[:TOLD_CHARS_MAX]
