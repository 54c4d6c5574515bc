"""Whole files of the wrong type, each made from the same good batch file, and good ones that begin oddly."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile


def request(custom_id: str, text: str = "Zähl bis drei.") -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    value = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(value, ensure_ascii=False)


LINES = [request(custom_id) for custom_id in "abc"]
TEXT = "".join(line + "\n" for line in LINES)
GOOD = TEXT.encode()
_OBJECTS = [json.loads(line) for line in LINES]


def _zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # stored: its lines can be read in it
        archive.writestr(name, GOOD)
    return file.getvalue()


def _tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("requests.jsonl")
        entry.size = len(GOOD)
        archive.addfile(entry, io.BytesIO(GOOD))
    return file.getvalue()


#: Name to (content, what the sentence must say).
FOREIGN: dict[str, tuple[bytes, *tuple[str, ...]]] = {
    "UTF-16, as PowerShell writes it": (TEXT.encode("utf-16"), "UTF-16,", "iconv -f UTF-16 -t UTF-8"),
    "UTF-16, the other way round": (b"\xfe\xff" + TEXT.encode("utf-16-be"), "UTF-16,", "iconv -f UTF-16 "),
    "UTF-16LE without its mark": (TEXT.encode("utf-16-le"), "UTF-16LE", "iconv -f UTF-16LE -t UTF-8"),
    "UTF-16BE without its mark": (TEXT.encode("utf-16-be"), "UTF-16BE", "iconv -f UTF-16BE -t UTF-8"),
    "UTF-32": (TEXT.encode("utf-32"), "UTF-32,", "iconv -f UTF-32 -t UTF-8"),
    "UTF-32BE without its mark": (TEXT.encode("utf-32-be"), "UTF-32BE", "iconv -f UTF-32BE"),
    "Latin-1": (TEXT.encode("latin-1"), "Latin-1", "iconv -f WINDOWS-1252 -t UTF-8"),
    "Windows-1252": (TEXT.replace("ä", "“").encode("cp1252"), "Windows-1252", "iconv -f WINDOWS-1252"),
    "Latin-1, indented": (json.dumps(_OBJECTS[0], indent=1, ensure_ascii=False).encode("latin-1"), "Latin-1"),
    "gzip": (gzip.compress(GOOD), "gzip", "gunzip -c FILE > NEW.jsonl"),
    "bzip2": (bz2.compress(GOOD), "bzip2", "bzip2 -dc"),
    "xz": (lzma.compress(GOOD), "xz", "xz -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd\x24\x11\x89", "zstd", "zstd -dc"),
    "zip": (_zipped("requests.jsonl"), "zip", "unzip -p"),
    "a workbook": (_zipped("xl/workbook.xml"), "Excel", "CSV"),
    "tar": (_tarred(), "tar", "tar -xf"),
    "Parquet": (b"PAR1\x15\x04\x15\x10", "Parquet"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "PDF", "pdftotext"),
    "binary": (bytes(range(256)) * 40, "binary"),
    "zeros": (b"\0" * 70_000, "zero bytes", "hand it in again"),
    "an array": (json.dumps(_OBJECTS).encode(), "JSON array", "jq -c '.[]'"),
    "an array longer than a look": (json.dumps(_OBJECTS * 400).encode(), "JSON array", "jq -c '.[]'"),
    "an indented array": (json.dumps(_OBJECTS, indent=2).encode(), "JSON array", "jq -c '.[]'"),
    "an array, line by line": (("[\n" + ",\n".join(LINES) + "\n]\n").encode(), "JSON array", "jq -c '.[]'"),
    "an array of one, line by line": (f"[\n{LINES[0]}\n]".encode(), "JSON array", "jq -c '.[]'"),
    "indented objects": (
        "\n".join(json.dumps(v, indent=4) for v in _OBJECTS).encode(),
        "one line",
        "jq -c .",
    ),
    "one indented object": (json.dumps(_OBJECTS[0], indent=2).encode(), "one line each", "jq -c . FILE"),
    "a long indented object": (json.dumps({"a": 1, "b": "x" * 70_000}, indent=2).encode(), "jq -c . FILE"),
    "objects without line ends": ("".join(LINES).encode(), "one line each", "jq -c . FILE"),
    "line ends of old Macs": ("\r".join(LINES).encode(), "old Macs", "tr '\\r' '\\n' < FILE"),
    "a text sequence": ("".join(f"\x1e{line}\n" for line in LINES).encode(), "sequence", "tr -d '\\036'"),
    "repr": ("".join(f"{value!r}\n" for value in _OBJECTS).encode(), "Python", "ast.literal_eval"),
    "CSV": (b"custom_id,prompt\na,What is it?\n", "CSV", "docs/format.md"),
    "CSV with a mark": (b"\xef\xbb\xbfcustom_id;prompt\r\na;What?\r\n", "CSV"),
    "TSV": (b"custom_id\tprompt\na\tWhat is it?\n", "TSV"),
    "text": (b"What is it, really?\nWho is she?\n", "plain text", "jq -Rc"),
    "HTML": (b"\n<!DOCTYPE html>\n<html>\n<body>Please log in", "web page", "fetch that again"),
    "XML": (b'<?xml version="1.0"?>\n<requests/>\n', "XML"),
    "results": (
        b'{"id":"r","custom_id":"a","response":{"status_code":200,"body":{}},"error":null}\n' * 2,
        "output of a batch",
    ),
    "bodies": (
        b'{"model":"m","messages":[{"role":"user","content":"x"}]}\n' * 2,
        "bodies",
        "jq -c '{custom_id",
    ),
}

#: Read line by line, as ever.
OURS = {
    "good": GOOD,
    "with a mark": b"\xef\xbb\xbf" + GOOD,
    "empty": b"",
    "blank": b"\n \n",
    "one bad line": b"What is it, really?\n",
    "bad words": b"nope\nnope\n",
    "a bad first line": b"What is it, really?\nWho is she?\n" + GOOD,
    "a long beginning of bad lines": b"custom_id,prompt\n" * 20_000 + GOOD,
    "an array in the first line": b'[{"a":1}]\n' + GOOD,
    "an array in a long first line": b'[{"a":"' + b"x" * 70_000 + b'"}]\n' + GOOD,
    "an array that is the last line too": b'[{"a":1}]\n' + GOOD + b'[{"a":1}]\n',
    "an indented first object": b'{\n "a": 1\n}\n' + GOOD,
    "two bytes of gzip": b"\x1f\x8b\n" + GOOD,
    "a mark of UTF-16": b"\xff\xfe\n" + GOOD,
    "zeros in the first line": b"\0" * 900 + b"\n" + GOOD,
    "some lines in Latin-1": TEXT.encode("latin-1") + request("d", "x").encode() + b"\n",
    "bad requests only": b'{"custom_id":"a","url":"/v2","body":{}}\n' * 3,
    "a long first line": request("a", "x" * 70_000).encode() + b"\n",
    "no url": b'{"custom_id":"a","messages":[]}\n',
}
