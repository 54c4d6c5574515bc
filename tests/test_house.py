"""The inspector: what the design says of the house, checked. With it, pytest alone runs every check."""

import ast
import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "batchd").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
TESTED_FLOORS = ("core", "daemon", "edges", "cli")

#: Words that say nothing of what a thing does, or that another thing owns.
REFUSED_WORDS = frozenset({"job", "worker", "manager", "handler", "helper", "util"})
ALLOWED_NAMES = {
    "ServiceManager": "systemd's own name for itself",
}

#: Who may look at the environment besides the settings, and why.
READS_ENVIRONMENT = {
    "app/engines.py": "an own Ollama inherits it",
    "edges/llamacpp_child.py": "the child inherits it, less our secrets",
    "edges/ollama/client.py": "a package is imported that trusts what stands there",
    "edges/model_store.py": "the fetching child inherits it, with a folder of its own for what it leaves",
}

TOP_LEVEL = {
    "pyproject.toml",
    "batchd",
    "systemd",
    "tests",
    "spool.example",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
}

#: Traces of the place where a file was written, which mean nothing to a reader. Spelt in two parts each, so
#: that this list is not found by itself.
FOREIGN = tuple(first + second for first, second in (("/wo", "rk/"), ("../sh", "ared"), ("/ro", "ot/")))

WRITTEN = {".py", ".toml", ".md", ".service", ".conf", ".sysusers", ".tmpfiles", ".yml", ".cfg", ""}


def names_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def run(*command: str) -> str:
    """Nothing when the command is content, else what it said."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


# --- the tools -------------------------------------------------------------------------------------------


def test_everything_is_formatted() -> None:
    assert run("ruff", "format", "--check", ".") == ""


def test_the_linter_is_content() -> None:
    assert run("ruff", "check", ".") == ""


@pytest.mark.timeout(600)  # the first time, without a cache, every library is read
def test_the_types_hold() -> None:
    assert run("mypy") == ""


def test_every_import_goes_down_the_stairs() -> None:
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_can_be_read() -> None:
    just = Path(sys.executable).with_name("just")
    done = subprocess.run(
        [just, "--summary"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert {"setup", "fix", "check"} <= set(done.stdout.split())


def test_nothing_of_ours_runs_between_fork_and_exec() -> None:
    """The process has threads: what they held at the fork is held there for ever."""
    forks = {"preexec_fn", "fork", "forkpty"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "batchd")
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.keyword) and node.arg in forks)
        or (isinstance(node, ast.Attribute) and node.attr in forks)
    ]
    assert found == []


# --- the files -------------------------------------------------------------------------------------------


def test_the_visible_top_level_is_as_designed() -> None:
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    visible = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".") and not any(fnmatch.fnmatch(path.name, name) for name in ignored)
    }
    assert visible - {"docs"} == TOP_LEVEL
    assert "docs" not in visible or any((ROOT / "docs").iterdir())


@pytest.mark.parametrize("path", SOURCES, ids=names_of)
def test_a_file_has_a_readable_length(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


def needs_a_test(path: Path) -> bool:
    """Shapes and values decide nothing: a file without a statement in any function needs no test."""
    functions = [
        node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return any(
        not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for function in functions
        for statement in function.body
    )


def floor_files() -> Iterator[Path]:
    for floor in TESTED_FLOORS:
        yield from (path for path in SOURCES if path.is_relative_to(ROOT / "batchd" / floor))


@pytest.mark.parametrize("path", list(floor_files()), ids=names_of)
def test_a_file_has_its_test(path: Path) -> None:
    floor, *place = path.relative_to(ROOT / "batchd").with_suffix("").parts
    if not needs_a_test(path):
        return
    # A package may be tested as a whole: edges/spool/disk.py by test_spool.py, test_spool_contract.py.
    subjects = {floor if place == ["__init__"] else place[0], place[-1]} - {"__init__"}
    homes = {ROOT / "tests" / floor, ROOT / "tests" / "contract"}
    pattern = re.compile(rf"test_({'|'.join(sorted(subjects))})(_\w+)?")
    assert [test for test in TESTS if test.parent in homes and pattern.fullmatch(test.stem)]


# --- the text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=names_of)
def test_a_file_opens_as_a_man_page(path: Path) -> None:
    opening = ast.get_docstring(parsed(path)) or ""
    paragraph = opening.partition("DIAGNOSTICS\n")[2]
    assert paragraph.strip(), "every file says what happens when things go wrong"


@pytest.mark.parametrize("path", SOURCES, ids=names_of)
def test_a_function_fits_the_eye(path: Path) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]
    assert not long


def chosen_names(tree: ast.AST) -> Iterator[str]:
    """The names that we chose; those of libraries are theirs."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case (
                ast.arg(arg=name)
                | ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
            ):
                yield name
            case ast.alias(asname=str(name)):
                yield name
            case _:
                pass


def words_of(name: str) -> set[str]:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return {word.lower().removesuffix("s") for word in words}


@pytest.mark.parametrize("path", SOURCES, ids=names_of)
def test_no_name_is_an_empty_word(path: Path) -> None:
    names = {path.stem, *chosen_names(parsed(path))} - set(ALLOWED_NAMES)
    assert not [name for name in sorted(names) if words_of(name) & REFUSED_WORDS]


def test_the_inspector_sees_empty_words() -> None:
    tree = ast.parse("class JobWorker:\n  def f(self, handlers): self.io_util = 1\nimport os as my_helper")
    assert {name for name in chosen_names(tree) if words_of(name) & REFUSED_WORDS} == {
        "JobWorker",
        "handlers",
        "io_util",
        "my_helper",
    }
    assert not words_of("utility") & REFUSED_WORDS


@pytest.mark.parametrize("path", SOURCES, ids=names_of)
def test_only_the_settings_read_the_environment(path: Path) -> None:
    name = path.relative_to(ROOT / "batchd").as_posix()
    reads = [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}
    ]
    assert not reads or name.startswith("settings/") or name in READS_ENVIRONMENT


def written_files() -> Iterator[Path]:
    """Every text that people wrote; records of the real world (CSV, JSONL) are as they are."""
    folders = ("batchd", "tests", "systemd", ".ci", "docs")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    top = (path for path in ROOT.iterdir() if path.name not in {".git", ".coverage"})
    for path in (*found, *top):
        if path.is_file() and path.suffix in WRITTEN and "__pycache__" not in path.parts:
            yield path


def test_no_text_speaks_of_the_place_where_it_was_written() -> None:
    hits = [
        f"{names_of(path)}: {trace}"
        for path in written_files()
        for trace in FOREIGN
        if trace in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not hits


def test_the_versions_agree() -> None:
    import tomllib

    from batchd import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
