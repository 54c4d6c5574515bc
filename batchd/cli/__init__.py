"""The roof: the command line. One verb per file.

SUMMARY
    `main` is the console script. A verb is a function that returns its exit code, and its
    docstring is its help, with an example. Adding one is a file, and a name in VERBS. Only the verb that was
    asked for is loaded: a daemon that was killed is back a quarter of a second earlier (measured).

        0    all requests completed
        1    finished, but not well; or the disk failed us
        2    usage
        3    `run`: a batch is paused and waits for a person
        75   the spool is held by another, or the model server is out of reach
        78   configuration
        130  interrupted; what can go on goes on at the next start

DIAGNOSTICS
    Fatal: a BatchdError is one sentence and the next step, with its own exit code, and no trace.
    Fatal: a limit or a place that the machine refuses is named (`refused`).
    Bug: any other exception is one sentence, exit code 1, and a file with the trace.
"""

import gc
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from batchd import __version__
from batchd.cli.refused import refused
from batchd.cli.streams import mend_streams, what_was_refused
from batchd.cli.terminal import put, say, say_error
from batchd.errors import BatchdError, UsageError

#: Returns its exit code; None is 0.
Verb = Callable[..., int | None]

#: In the order of the help. A verb is the function of this name in the file of this name.
VERBS = (
    "daemon",
    "run",
    "submit",
    "check",
    "status",
    "pause",
    "resume",
    "cancel",
    "verify",
    "config",
    "doctor",
    "calibrate",
    "bench",
    "demo",
)

EXIT_INTERRUPTED = 130

#: Of the verbs that go on: a person who has stopped hours of work wants to know what it cost.
_INTERRUPTED = {"run": "Interrupted. Every answer so far is kept: the same command goes on where it stopped."}


def main() -> None:
    """The console script."""
    mend_streams()
    code = call(sys.argv[1:])
    if refused := what_was_refused():
        say(f"batchd: Standard output took no more: {refused}. The exit code is that of the command.")
    sys.exit(code)


def call(arguments: Sequence[str], more: Sequence[Verb] = ()) -> int:
    """Run one command; its exit code. `more` are verbs beside ours."""
    try:
        _refuse_empty(arguments)
        code: object = _built([*more, *_asked_for(arguments)])(
            args=list(arguments), prog_name="batchd", standalone_mode=False
        )
    except BatchdError as error:
        say_error(error)
        return error.exit_code
    except typer.TyperException as error:
        say_error(UsageError(error.format_message(), _help_hint(error)))
        return UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one who can tell a person what happened
        if (named := refused(error)) is not None:
            say_error(named)
            return named.exit_code
        _say_bug(error)
        return 1
    if code == EXIT_INTERRUPTED:
        say(_INTERRUPTED.get(arguments[0], "Interrupted.") if arguments else "Interrupted.")
    return code if isinstance(code, int) else 0


def _refuse_empty(arguments: Sequence[str]) -> None:
    """An empty path would be the current directory: `--spool "$UNSET"` would make a spool of it."""
    for argument in arguments:
        if argument == "" or (argument.startswith("--") and argument.endswith("=")):
            raise UsageError(
                f"{'An argument' if argument == '' else argument.rstrip('=')} is empty.",
                "Give it a value; if it came from a variable, that is not set.",
            )


def _asked_for(arguments: Sequence[str]) -> list[Verb]:
    """The verb of this command; all of them where it names none of ours, for the help."""
    names = arguments[:1] if arguments and arguments[0] in VERBS else VERBS
    gc.disable()  # what is loaded is no garbage, and looking for some takes a tenth of the start
    try:
        return [getattr(import_module(f"batchd.cli.{name}"), name) for name in names]
    finally:
        gc.enable()


def _built(verbs: Sequence[Verb]) -> typer.Typer:
    app = typer.Typer(
        name="batchd",
        add_completion=False,
        rich_markup_mode=None,  # plain help: it is the same in a terminal, a pipe and a test
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_root)
    for verb in verbs:
        app.command()(verb)
    return app


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> int:
    """Run OpenAI-format batch files on a local model, and lose nothing.

    \b
    Example:
      batchd submit requests.jsonl --wait
    """
    if version:
        put(f"batchd {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    return 0


def _help_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "batchd"
    return f"`{path} --help` shows an example."


def _say_bug(error: Exception) -> None:
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="batchd-", suffix=".trace", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"batchd {__version__}, Python {sys.version}\n{trace}")
        place = f"The trace is in {file.name}; please report it. What was durable stays so."
    except OSError:
        place = "The trace could not be written: " + trace
    say_error(BatchdError(f"A bug in batchd: {type(error).__name__}.", place))
