"""A mutating fuzzer: request lines and options files, broken in every way that we could think of.

SUMMARY
    line_of(seed, number)      the bytes of one line, and the codes that it must have where that is known
    options_of(seed, number)   the bytes of one options file
    file_of(seed, number, n)   n lines as a file: the endings are mutated too

    Each line has a source of chance of its own, made of seed and number, so that one line can be replayed
    without those before it.

    A value is changed as a tree, before it is text (numbers where strings belong), while it becomes text
    (keys twice, escapes, blanks), and after it is bytes (flips, cuts, marks).

DIAGNOSTICS
    None.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

Tree = Any

#: Text that stands where a value belongs, as it is: what `json.dumps` would never write.
FRAGMENTS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E400", "-0", "-0.0", "1e-999", "01", "+1", ".5",
    "1.", "0x10", "1_000", "true", "false", "null", "True", "None", "undefined", "'a'", "", ",", "]", "}",
    "{}", "[]", "18446744073709551615", "18446744073709551616", "-9223372036854775808",
    "-9223372036854775809", "9223372036854775807", "9223372036854775808", "1e19", "-1e300",
    "18446744073709551616.0", "1e400.5", "9" * 25, "-" + "9" * 400, "9" * 5_000, "0." + "0" * 900 + "1",
    "1" + "0" * 308, "1" + "0" * 309 + ".0", '"\\ud800"', '"\\udc00x"', '"\\ud83d\\ude00"', '"\\ud83d"',
    '"\\u0000"', '"\\u2028"', '"\\x41"', '"\\"', '"\t"', '"\u2028\u2029\x85"', '"\ufeff"', '"\U0001f600"',
    '"\\ude00\\ud83d"', '"a" "b"', '{"a":1,"a":2}', '{"":0,"":0}', '{"a\\u0062":1,"ab":2}',
    '{"k" :1,"k"\t:2}', '"\\":"', '{"a\\\\":1,"a\\\\":1}', '[{"x":{"y":1,"y":1}}]', "[1,]",
)  # fmt: skip

#: Values of every kind, where another kind belongs.
STRANGE: tuple[Tree, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, 2**31, 2**63 - 1, 2**63, 2**64 - 1, "", " ", "a", "0",
    "1", "user", "text", "none", "auto", "json_object", [], [[]], {}, {"a": {}}, [None], [""], [1, 2],
    ["a", "b"], ["text"], "x" * 200, "x" * 10_000, "\x00", "\x1b[2J\x1b]0;t\x07", "\u202e\u2028\u2029\x85",
    "a\nb\r\nc", "\U0001f600" * 50, "é" * 99 + "\U0001f600", {"type": "text", "text": "t"},
    [{"type": "text", "text": ""}], {"type": "json_schema"},
    [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}], {"role": "user", "content": "hi"},
    [{"role": "tool", "content": "x"}],
    {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": []}}},
    [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}], {str(n): n for n in range(300)},
)  # fmt: skip

NAMES = (
    "custom_id", "method", "url", "body", "model", "messages", "role", "content", "stream", "prompt",
    "input", "n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop",
    "frequency_penalty", "tools", "presence_penalty", "response_format", "reasoning_effort", "dimensions",
    "encoding_format", "metadata", "user", "logit_bias", "logprobs", "top_logprobs", "tool_choice",
    "functions", "modalities", "suffix", "echo", "best_of", "stream_options", "store", "type", "text",
    "json_schema", "schema", "name", "", " ", "Custom_id", "custom_id ", "\x00", "\u2028", "__proto__",
    "k" * 5_000, '"', "\\", '\\"', '":', "é", "\U0001f600", "num_ctx", "keep_alive",
)  # fmt: skip

URLS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
BAD_URLS = (
    "/v1/chat/completions/",
    "http://127.0.0.1/v1/embeddings",
    "/v1/responses",
    "",
    "/v1/../v1/embeddings",
)

#: Bytes that mean something to somebody.
BYTES = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\r", b"\x0b", b"\x0c", b"\x1a", b"\x1b", b"\x7f", b" ", b"\t", b'"',
    b"\\", b"{", b"}", b"[", b"]", b":", b",", b'":', b"\\u", b"\\ud800", b"//", b"/**/", b"#", b"null",
    b"{}", b"1", b"-", b"e", b".",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that is written as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Twice:
    """Among the values of an object: this key of it is written a second time, with that value."""

    key: str
    again: Tree


#: Where a `Twice` stands in its object.
_TWICE = "\x00twice"


class Made(NamedTuple):
    """One line; `codes` empty: nobody can tell which. `ok` stands for a request."""

    raw: bytes
    codes: frozenset[str] = frozenset()
    how: str = ""


def strange(rng: Random) -> Tree:
    """A copy: what is put into a line may be changed there, and the next line must not know."""
    return deepcopy(rng.choice(STRANGE))


def chance(seed: int, number: int) -> Random:
    return Random((seed << 40) + number)


# --- good lines ------------------------------------------------------------------------------------------


def text(rng: Random) -> str:
    kind = rng.randrange(12)
    if kind == 0:
        return "".join(
            chr(rng.choice((rng.randrange(0x20, 0xD800), rng.randrange(0xE000, 0x110000)))) for _ in range(9)
        )
    if kind == 1:
        return rng.choice(NAMES) or "x"
    if kind == 2:
        return '{"a": "b", "a": 1} \\": ' * rng.randrange(1, 9)
    if kind == 3:
        return "".join(map(chr, range(1, 0xA0))) + "\u2028\u2029"
    return rng.choice(("Judge the package. ", "hello ", "word ")) * rng.randrange(1, 12)


def custom_id(rng: Random) -> str:
    kind = rng.randrange(16)
    if kind == 0:
        return text(rng)
    if kind == 1:
        return rng.choice(
            ("a", "b", "\x00", "\u2028", "../../etc/passwd", "<0>\n", "\x1b]8;;x\x07", "null", "7", "é")
        )
    if kind == 2:
        return rng.choice(("x", "é", "\U0001f600", "\n")) * rng.choice((511, 512, 9_999, 10_000, 10_001))
    return f"request-{rng.getrandbits(60)}"


def good(rng: Random, url: str) -> dict[str, Tree]:
    body: dict[str, Tree] = {"model": rng.choice(("m", "m", "other", "smollm2:135m", "é/\u2028"))}
    if url == URLS[2]:
        body["input"] = rng.choice((text(rng), [text(rng), text(rng)]))
    elif url == URLS[1]:
        body["prompt"] = rng.choice((text(rng), [text(rng)]))
    else:
        body["messages"] = [
            {"role": "system", "content": "You judge. " * rng.randrange(1, 9)}
        ] * rng.randrange(2)
        body["messages"] += [{"role": "user", "content": rng.choice((text(rng), parts(rng)))}]
    if url != URLS[2] and rng.random() < 0.5:
        body |= rng.choice(
            ({"temperature": 0}, {"max_tokens": 9, "stop": ["\n"]}, {"seed": 2**63 - 1}, {"top_p": 0.9})
        )
    if url == URLS[0] and rng.random() < 0.2:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}},
        }
    return {"custom_id": custom_id(rng), "method": "POST", "url": url, "body": body}


def parts(rng: Random) -> list[Tree]:
    return [{"type": "text", "text": text(rng)} for _ in range(rng.randrange(1, 4))]


# --- changes of the tree: each returns the codes that the line must have, where that is known ------------

Change = Callable[[Random, dict[str, Tree]], tuple[str, ...]]


def lose_an_envelope_key(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    name = rng.choice(("custom_id", "method", "url", "body"))
    if rng.random() < 0.5:
        line.pop(name, None)
    else:
        line[name] = None
    return ("missing_required_parameter",)


def give_an_envelope_key_another_type(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    name = rng.choice(("custom_id", "method", "url", "body"))
    line[name] = rng.choice((0, 1.5, True, [], ["POST"], {} if name != "body" else "text", 2**64 - 1))
    return ("invalid_type",)


def name_a_foreign_url(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    line["url"] = rng.choice(BAD_URLS)
    return ("invalid_url",)


def ask_to_stream(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    line["body"]["stream"] = True
    return ("streaming_unsupported",)


def add_an_unknown_parameter(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    line["body"][rng.choice(("num_ctx", "k" * 3_000, "", "\u2028", "Model"))] = rng.choice(
        (0, "x", [[]], {"a": 1})
    )
    return ("unsupported_parameter",)


def use_a_tool(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    line["body"]["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"a": [{}]}}}]
    return ("unsupported_parameter",)


def lose_the_content(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    for name in ("messages", "prompt", "input"):
        line["body"].pop(name, None)
    return ("invalid_request",)


def lose_the_model(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    line["body"]["model"] = rng.choice((None, ""))
    return ("invalid_request",)


def name_an_endless_model(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    line["body"]["model"] = "m" * rng.choice((1_025, 30_000))
    return ("invalid_value",)


def write_what_is_no_json(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    wrong = rng.choice(
        ("NaN", "-Infinity", "1e999", "9" * 30, "9" * 5_000, '"\\ud800"', '"\\udc00"', '"\t"', "01")
    )
    place = rng.choice((line, line["body"]))
    place[rng.choice(("extra", "metadata", "seed"))] = Literal(wrong)
    return ("invalid_json_line",)


def double_a_key(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    place = rng.choice([item for item in nodes(line) if isinstance(item, dict) and item])
    place[_TWICE] = Twice(rng.choice(list(place)), strange(rng))
    return ("invalid_json_line",)


def nest_deeply(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    levels = rng.choice((250, 950, 1_023, 1_024, 1_025, 3_000, 100_000 if rng.random() < 0.05 else 5_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    deep = Literal(opening * levels + "1" + closing * (levels if rng.random() < 0.8 else 0))
    body = line["body"]
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": deep}}}
    rng.choice((line, body)).update({rng.choice(("metadata", "extra")): deep})
    if rng.random() < 0.3:
        body["response_format"] = schema
    return ("invalid_json_line",)


def change_any_node(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    place = rng.choice([item for item in nodes(line) if isinstance(item, dict | list) and item])
    key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    place[key] = Literal(rng.choice(FRAGMENTS)) if rng.random() < 0.4 else strange(rng)
    return ()


def add_any_key(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    place = rng.choice([item for item in nodes(line) if isinstance(item, dict)])
    value = strange(rng) if rng.random() < 0.7 else Literal(rng.choice(FRAGMENTS))
    place[rng.choice(NAMES)] = value
    return ()


def lose_any_key(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    place = rng.choice([item for item in nodes(line) if isinstance(item, dict) and item])
    del place[rng.choice(list(place))]
    return ()


def shallow_schema(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    levels = rng.randrange(150, 230)
    schema = {"type": "json_schema", "json_schema": {"schema": {"a": Literal("[" * levels + "]" * levels)}}}
    line["body"]["response_format"] = schema
    return ()


def many_keys(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    crowd = {f"k{number}": number for number in range(rng.choice((100, 3_000)))}
    line["body"]["metadata"] = crowd
    return ("ok",) if line.get("url") == URLS[0] else ("unsupported_parameter",)


def nothing(rng: Random, line: dict[str, Tree]) -> tuple[str, ...]:
    return ("ok",)


CHANGES: tuple[Change, ...] = (
    nothing, nothing, lose_an_envelope_key, give_an_envelope_key_another_type, name_a_foreign_url,
    ask_to_stream, add_an_unknown_parameter, use_a_tool, lose_the_content, lose_the_model,
    name_an_endless_model, double_a_key, write_what_is_no_json, nest_deeply, change_any_node,
    change_any_node, change_any_node, add_any_key, add_any_key, lose_any_key, shallow_schema, many_keys,
)  # fmt: skip


def nodes(tree: Tree) -> list[Tree]:
    found, index = [tree], 0
    while index < len(found):
        item = found[index]
        index += 1
        found += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return found


# --- text ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Style:
    """How a tree is written: what is between the tokens, whether beyond ASCII is escaped."""

    is_ascii: bool = True
    comma: str = ","
    colon: str = ":"


STYLES = (
    Style(), Style(False), Style(comma=", ", colon=": "), Style(False, " ,\t", " :\r "),
    Style(True, ",  ", "\t:"),
)  # fmt: skip


def write(tree: Tree, style: Style) -> str:
    if isinstance(tree, Literal):
        return tree.text
    if isinstance(tree, dict):
        pairs = [_pair(key, value, style) for key, value in tree.items()]
        return f"{{{style.comma.join(pairs)}}}"
    if isinstance(tree, list):
        return f"[{style.comma.join([write(item, style) for item in tree])}]"
    return json.dumps(tree, ensure_ascii=style.is_ascii)


def _pair(key: str, value: Tree, style: Style) -> str:
    if isinstance(value, Twice):
        return _pair(value.key, value.again, style)
    return f"{write(key, style)}{style.colon}{write(value, style)}"


# --- bytes -----------------------------------------------------------------------------------------------


def disturb(rng: Random, raw: bytes) -> bytes:
    """One change of the bytes. A newline is never put in: it would be two lines."""
    at = rng.randrange(len(raw) + 1)
    until = min(len(raw), at + rng.choice((1, 1, 2, 9, 100)))
    match rng.randrange(8):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + raw[until:]
        case 2:
            return raw[:at] + rng.choice(BYTES) + raw[at:]
        case 3:
            return raw[:at] + rng.choice(BYTES) + raw[until:]
        case 4:
            flipped = bytes([byte ^ (1 << rng.randrange(8)) for byte in raw[at:until]])
            return raw[:at] + flipped.replace(b"\n", b"\x0e") + raw[until:]
        case 5:
            return raw[:at] + raw[at:until] * 2 + raw[until:]
        case 6:
            return rng.choice((b"\xef\xbb\xbf", b"\r", b"\x00", b" \t\r", b"[", b",")) + raw
        case _:
            return raw + rng.choice(
                (raw, b" " + raw, b"," + raw, b"\r", b"\x00", b"}", b"\xef\xbb\xbf", b" x")
            )


def line_of(seed: int, number: int, url: str | None = None) -> Made:
    """Line `number` of the endless file of this seed; with `url`, a milder one of that url."""
    rng = chance(seed, number)
    if rng.random() < 0.02:
        return Made(bare(rng), how="bare")
    line = good(rng, rng.choice((URLS[0], URLS[0], *URLS)) if url is None else url)
    changes = rng.choices(CHANGES, k=rng.choice((1, 1, 1, 2, 3)))
    if url is not None and rng.random() < GOOD_SHARE:
        return Made(write(line, rng.choice(STYLES)).encode(), frozenset({"ok"}), "good")
    codes = [change(rng, line) for change in changes if isinstance(line.get("body"), dict)]
    raw = write(line, rng.choice(STYLES)).encode("utf-8", "surrogatepass")
    how = "+".join(change.__name__ for change in changes)
    if rng.random() < 0.25:
        return Made(disturb(rng, raw), how=f"{how}+disturb")
    return Made(raw, frozenset(codes[0]) if len(changes) == 1 else frozenset(), how)


def bare(rng: Random) -> bytes:
    """What is no object at all."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(FRAGMENTS).encode("utf-8", "surrogatepass").replace(b"\n", b"")
    if kind == 1:
        return bytes(byte for byte in rng.randbytes(rng.randrange(60)) if byte != 0x0A)
    if kind == 2:
        return rng.choice((b" ", b"\t", b"\r", b"\x0b\x0c", b"")) * rng.randrange(5)
    if kind == 3:
        return b"".join(rng.choice(BYTES) for _ in range(rng.randrange(30)))
    if kind == 4:
        return (
            rng.choice((b"[", b'{"a":', b'"', b"\\", b"-", b"9", b"\xef\xbb\xbf", b'\\"', b'"' + b"\\"))
            * 3_000
        )
    return json.dumps(strange(rng)).encode()


ENDINGS = (b"\n",) * 12 + (b"\r\n", b"\r\n", b"\n\n", b"\n \t\n", b"\n\r\n", b"\r\r\n")


#: How many lines of a file are left as they are: else nothing would be grouped and planned.
GOOD_SHARE = 0.5

#: How many lines of a file stand there a second time.
AGAIN_SHARE = 0.05


def file_of(seed: int, number: int, line_count: int) -> bytes:
    """Lines `number` and on as one file, with endings of all kinds; sometimes a mark first, or no end."""
    rng = chance(seed ^ 0x5EED, number)
    content, url = b"", rng.choice((URLS[0], URLS[0], *URLS))
    for index in range(line_count):
        chosen = rng.randrange(index + 1) if rng.random() < AGAIN_SHARE else index
        content += line_of(seed, number + chosen, url).raw + rng.choice(ENDINGS)
    if rng.random() < 0.3:
        content = content.rstrip(b"\r\n")
    return rng.choice((b"", b"", b"\xef\xbb\xbf")) + content


# --- options ---------------------------------------------------------------------------------------------

OPTION_NAMES = ("batch_id", "metadata", "completion_window", "strict")


def options_of(seed: int, number: int) -> bytes:
    """An options file, broken or not."""
    rng = chance(seed ^ 0x0971, number)
    if rng.random() < 0.05:
        return bare(rng)
    options: dict[str, Tree] = {
        "batch_id": f"batch_{rng.getrandbits(128):032x}",
        "metadata": {text(rng)[:64]: text(rng)[:512]},
        "completion_window": rng.choice(("24h", "1s", "999999d", "0h", "24h\n", "²h", "1000000d", "24H")),
        "strict": rng.choice((True, False, None)),
    }
    for _ in range(rng.randrange(4)):
        value = strange(rng) if rng.random() < 0.7 else Literal(rng.choice(FRAGMENTS))
        name = rng.choice((*OPTION_NAMES, *OPTION_NAMES, *NAMES, "meta_data", "strict " * 9_000))
        match rng.randrange(4):
            case 0 if isinstance(options.get("metadata"), dict):
                options["metadata"][rng.choice(NAMES)] = value
            case 1:
                options.pop(name, None)
            case _:
                options[name] = value
    if options and rng.random() < 0.1:
        options[_TWICE] = Twice(rng.choice(list(options)), strange(rng))
    raw = write(options, rng.choice(STYLES)).encode("utf-8", "surrogatepass")
    return disturb(rng, raw) if rng.random() < 0.25 else raw
