"""The entry point: chooses the command, and turns whatever happens into an exit code.

Exit codes: 0 done; 1 failed, or the training diverged; 2 a command line that cannot be used;
130 interrupted by Ctrl-C; 143 ended by SIGTERM; 129 its terminal was closed (SIGHUP); 141 the
reader of the output has gone away.
"""

import contextlib
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import gradbook
from gradbook import launched
from gradbook.cli.options import asks_for_help, normalized
from gradbook.cli.outcome import (
    HelpRequest,
    Outcome,
    UsageError,
    describe,
    ending,
    exit_code,
    plain_warnings,
    print_json,
    wants_traceback,
)
from gradbook.cli.waiting import told_while_waiting
from gradbook.errors import did_you_mean
from gradbook.escape import printable
from gradbook.interrupts import SIGNALS, Terminated, handled
from gradbook.wrapping import columns, wrapped

COMMANDS = {
    "train": "train a model, and keep the run in a folder",
    "resume": "resume a run that was stopped: the result is as if it never had been",
    "rerun": "train again with the settings and the seed of a run",
    "runs": "list the runs",
    "show": "one run: its settings, curve and figures",
    "compare": "several runs: what differs, and their curves in one picture",
    "report": "runs and sweeps as one page to hand in",
    "inspect": "what a trained model gets right and wrong",
    "predict": "classify images, or continue texts, with a trained model",
    "sweep": "train with many settings, and compare what they reach",
    "lr-range": "which learning rates a model can be trained with",
    "sharpness": "the largest learning rate that is stable, and why",
    "summary": "a model's layers, output shapes, parameters and multiply-adds",
    "graph": "a model's computation as a picture, forward and backward",
    "activation": "an activation function, its derivative, and how gradients shrink with depth",
    "export": "a trained model in another format",
    "lab": "every run in the browser, live, and a playground",
    "rm": "remove runs",
    "data": "where each data set was looked for, and how to get it",
    "doctor": "what is installed here, and what is wrong with it",
}

HELP = f"""\
usage: gradbook COMMAND [options]

A teaching laboratory for deep learning on PyTorch.

commands:
{chr(10).join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())}

options:
  -h, --help  show this, or after a command its own help
  --version   show the version

examples:
  gradbook train mlp --num-hiddens 256 --lr 0.1
  gradbook train softmax --max-epochs 5 --seed 1
  gradbook train my_file.py:MyNet --data my_file.py:MyData
  gradbook resume mlp-1 --max-epochs 20
  gradbook compare mlp-1 mlp-2
  gradbook train mlp --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` names, by default the process's own; returns the exit code."""
    arguments = normalized(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments and not asks_for_help(arguments)
    stdout = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")  # as Python has stderr: anything can be said
    outcome = Outcome()
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_terminable())
            stack.enter_context(plain_warnings(quiet="--quiet" in arguments))
            stack.enter_context(told_while_waiting(quiet="--quiet" in arguments))
            if not launched.speaks():  # the first process shows what happens
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            if as_json:
                # Whatever is printed meanwhile, by a learner's code too, is not the result.
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            outcome = _run(arguments)
    except BaseException as error:  # a learner's code may raise anything
        outcome.error = ending(error)
    try:
        return _report(outcome, arguments, stdout if as_json else None)
    except (BrokenPipeError, KeyboardInterrupt) as error:
        return _gone(error)
    except OSError as error:
        with contextlib.suppress(OSError):
            if outcome.error is None:
                print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        return _gone(outcome.error or error)


def _run(arguments: list[str]) -> Outcome:
    if not arguments:
        raise UsageError("Name a command.\n\n" + HELP.rstrip())
    command, *rest = arguments
    if command in ("-h", "--help"):
        return Outcome(text=HELP.rstrip())
    if command == "--version":
        return Outcome(text=f"gradbook {gradbook.__version__}")
    if command.startswith("-"):
        raise UsageError(
            f"Name a command before the option {command!r}. There are {', '.join(COMMANDS)}."
        )
    if command not in COMMANDS:
        raise UsageError(
            f"There is no command {command!r}.{did_you_mean(command, COMMANDS)} "
            f"There are {', '.join(COMMANDS)}."
        )
    # Imported now, not above: only what is used is waited for.
    run = importlib.import_module(f"gradbook.cli.{command.replace('-', '_')}").run
    try:
        outcome: Outcome = run(rest)
    except HelpRequest as request:
        return Outcome(text=str(request))
    return outcome


def _report(outcome: Outcome, arguments: list[str], json_stream: Any) -> int:
    error, quiet = outcome.error, "--quiet" in arguments
    if outcome.is_told or not _speaks(error):
        return 0 if error is None and not outcome.is_told else _code_of(outcome)
    if isinstance(error, BrokenPipeError):
        return _gone(error)
    message = describe(error, arguments) if error is not None else ""
    has_text = bool(outcome.text) and json_stream is None and (bool(outcome.code) or not quiet)
    is_told = has_text and type(error) is KeyboardInterrupt  # the text says so
    if error is not None and not is_told and not (isinstance(error, Terminated) and error.hung_up):
        told = message if isinstance(error, KeyboardInterrupt) else f"error: {message}"
        told = wrapped(told, columns(sys.stderr))
        if wants_traceback(arguments):
            told = "".join(traceback.format_exception(error)).rstrip()
        print(printable(told), file=sys.stderr)
    code = _code_of(outcome)
    if error is not None and not isinstance(error, KeyboardInterrupt) and _will_be_restarted():
        print("All processes are started again.", file=sys.stderr)
        return code  # how it ended, the last ones say
    if json_stream is not None:
        facts = outcome.facts
        if error is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            facts = {"status": status, **facts, "error": message}
        print_json({**facts, "exit_code": code}, json_stream)
    elif has_text:
        print(printable(outcome.text), flush=True)
    return code


def _code_of(outcome: Outcome) -> int:
    return outcome.code if outcome.error is None else exit_code(outcome.error)


def _will_be_restarted() -> bool:
    """Whether an agent starts this process again when it fails."""
    return launched.is_launched() and launched.num_restarts() < launched.max_restarts()


def _speaks(error: BaseException | None) -> bool:
    """Whether this process is the one to say how a command has ended, of several that train."""
    if error is None or not launched.is_launched():
        return launched.speaks()
    from gradbook.faults import tells

    return tells(error)


def _gone(error: BaseException) -> int:
    """The reader has gone, as after `| head`: nothing can be said, nor need be."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError, AttributeError):
            # Python flushes it once more when it exits, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return exit_code(error)


def _terminable() -> contextlib.AbstractContextManager[None]:
    """Lets SIGTERM and SIGHUP end a command as Ctrl-C does, so that what was reached is kept."""

    def end(number: int, *_: object) -> NoReturn:
        raise Terminated(number)

    # What is ignored stays so: `nohup` asks for that. Ctrl-C is Python's own.
    ours = set(SIGNALS) - {signal.SIGINT}
    return handled([n for n in ours if signal.getsignal(n) != signal.SIG_IGN], end)
