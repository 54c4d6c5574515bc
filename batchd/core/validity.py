"""Validity: is an answer the JSON that was asked for?

SUMMARY
    Where `response_format` asks for JSON, an answer is exactly one JSON value that can be read in one way
    only, as a request line must be: no doubled keys, no NaN, no half of a surrogate pair, nothing before or
    behind it but white space, and no Markdown fence. `json_object` is an object; a schema is held to
    (`core/schema`, where that can be ended). Thoughts do not count: only the answer does.

        `unread`    what is wrong with the text itself
        `cut`       the same, of an answer that ran to its bound: then that is what is wrong
        `reject`    what the request ends with

DIAGNOSTICS
    None: values in, values out.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from batchd.core.fault import Category, ModelFault, Rejected
from batchd.core.json import JsonFault, loads_strict
from batchd.core.model import Answer
from batchd.core.request import Request
from batchd.core.schema import Breach, Reason

#: How often an answer that is no good is asked for again, at most; no setting allows more.
AGAIN_MAX = 100

#: The code of an error line whose JSON ran to its bound; others have the name of their category.
ANSWER_CUT = "answer_cut"

_FENCE = "```"


class Answers(StrEnum):
    """What becomes of answers that are not what was asked for: the words of settings and options."""

    CHECKED = "checked"
    AS_GIVEN = "as_given"


def settled(asked: str | None, usual: Answers) -> Answers:
    """What a batch asks for, else what the operator set."""
    return usual if asked is None else Answers(asked)


def asks_for_json(request: Request) -> bool:
    """Whether there is something to hold its answer against."""
    return request.parameters.get("response_format") is not None


def unread(request: Request, answer: Answer) -> Breach | None:
    """What is wrong with the text; the schema comes after it."""
    text = answer.text
    if not text.strip():
        return Breach(Reason.NOT_JSON, "it is empty")
    if text.lstrip().startswith(_FENCE):
        return Breach(Reason.NOT_JSON, "it stands in a Markdown fence")
    try:
        value = loads_strict(text.encode())
    except UnicodeEncodeError:
        return Breach(Reason.NOT_JSON, "it has half of a surrogate pair, which no UTF-8 text can hold")
    except JsonFault as fault:
        return Breach(Reason.NOT_JSON, fault.reason.removeprefix("it is not JSON: ") or "it is no JSON")
    asked = request.parameters["response_format"]
    is_object = isinstance(asked, Mapping) and asked.get("type") == "json_object"
    if is_object and not isinstance(value, dict):
        return Breach(Reason.NOT_JSON, "it is JSON, and no object", "$", "type")
    return None


def cut(answer: Answer, breach: Breach) -> Breach:
    """An answer that ran to its bound breaks off: what is no JSON yet was to become some. What is JSON is
    whole, whatever followed it, and does not hold."""
    is_cut = answer.finish_reason == "length" and breach.reason is Reason.NOT_JSON
    return replace(breach, reason=Reason.CUT) if is_cut else breach


def reject(answer: Answer, breach: Breach, tries: int) -> ModelFault:
    """The end of a request that was asked so many times."""
    rejected = Rejected(
        breach,
        answer.text,
        answer.reasoning,
        answer.finish_reason,
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    code = ANSWER_CUT if breach.reason is Reason.CUT else None
    message = f"{_what(answer, breach)}. It was asked for {_times(tries)}; the last answer is kept."
    return ModelFault(Category.INVALID_ANSWER, message, is_temporary=False, code=code, rejected=rejected)


def _what(answer: Answer, breach: Breach) -> str:
    match breach.reason:
        case Reason.NOT_JSON:
            return f"The answer is not the JSON that was asked for: {breach.text}"
        case Reason.SCHEMA:
            return f"The answer breaks its schema at {breach.path} ({breach.keyword}): {breach.text}"
        case Reason.CUT:
            bound = f"its bound of {answer.usage.completion_tokens} tokens"
            return f"The answer was cut at {bound}, before its JSON was whole: {breach.text}"


def _times(tries: int) -> str:
    return "once" if tries == 1 else f"{tries} times, with different seeds"
