"""One training in several processes on this machine: starts them, and passes on how they end."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from gradbook import launched
from gradbook.cli.options import Given
from gradbook.cli.outcome import Outcome, UsageError
from gradbook.cli.plan import Plan
from gradbook.interrupts import SIGNALS, Terminated, handled

#: More processes than that for each processor cannot be meant.
_MOST_FOR_EACH = 8


def num_processes_of(plan: Plan, otherwise: int = 1) -> int:
    """How many processes a plan asks for; where it asks for none, so many.

    Raises:
        UsageError: If it asks for more than there can be, for two numbers, or for restarts that
            cannot be.
    """
    num_gpus = _plain(plan.arguments["trainer"].get("num_gpus") or 0)
    asked = plan.num_processes or (num_gpus if num_gpus > 1 else otherwise)
    if plan.num_processes and num_gpus > 1 and num_gpus != asked:
        raise UsageError(
            f"--num-processes {asked} and --num-gpus {num_gpus} are two numbers, and each process "
            f"trains on one GPU. Give one of them."
        )
    if launched.is_launched():
        if plan.num_processes not in (None, launched.size()):
            raise UsageError(
                f"--num-processes is {asked}, but this command was started in {launched.size()} "
                f"processes already. Leave it out."
            )
        allowed = launched.max_restarts()
        if plan.max_restarts not in (None, allowed):
            raise UsageError(
                f"--max-restarts is {plan.max_restarts}, but what has started this command starts "
                f"its processes again at most {allowed} times. Give the option to that, and not to "
                f"gradbook."
            )
        return launched.size()
    if plan.max_restarts and asked == 1:
        raise UsageError(
            f"--max-restarts {plan.max_restarts} starts several processes again when one of them "
            f"is lost, but this training has one. Give --num-processes 2 with it; or leave it out, "
            f"and go on with `gradbook resume` if the process is lost."
        )
    processors = os.cpu_count() or 1
    if asked > _MOST_FOR_EACH * processors:
        raise UsageError(
            f"{asked} processes are more than a machine with {processors} processors can run well. "
            f"Ask for as many as it has, or fewer."
        )
    if num_gpus > 1:
        from gradbook.devices import num_gpus as offered

        if offered() < asked:
            raise UsageError(
                f"--num-gpus is {num_gpus}, but this machine offers {offered()} to PyTorch. Ask "
                f"for as many as there are, or for --num-processes {asked}, which trains on the "
                f"CPU."
            )
    return asked


def _plain(value: object) -> int:
    number = value.value if isinstance(value, Given) else value
    return number if isinstance(number, int) else 0


def launch(words: Sequence[str], num_processes: int, max_restarts: int | None = None) -> Outcome:
    """Has so many processes carry out the command `gradbook WORDS`, and waits for their end.

    What there is to say, the first of them says, and an error the one that has it.

    Args:
        words: The command, without its first word.
        num_processes: How many there are to be.
        max_restarts: How often all may be started again, because one was lost; None for never.
    """
    processors = os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors // num_processes)))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from torch.distributed import run as agent
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)  # the agent's: the processes tell themselves
    started = ["--standalone", "--nproc-per-node", str(num_processes)]
    started += ["--max-restarts", str(max_restarts or 0), "-m", "gradbook", *words]
    sys.stdout.flush()
    # The agent has handlers of its own, and leaves them.
    with handled(SIGNALS, signal.default_int_handler):
        try:
            agent.run(agent.parse_args(started))  # type: ignore[no-untyped-call]
        except SignalException as stop:
            number = stop.sigval
            stopped = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
            return Outcome(error=stopped, is_told=True)
        except ChildFailedError as failure:
            code = failure.get_first_failure()[1].exitcode
            return Outcome(code=_passed_on(code), is_told=True)
        finally:
            logging.disable(logging.NOTSET)
    return Outcome(is_told=True)


def _passed_on(code: int) -> int:
    """The exit code that goes with that of a process, which is negative if a signal ended it."""
    if code < 0 and -code not in SIGNALS:
        print(
            f"error: one of the processes was ended by {signal.Signals(-code).name}. `gradbook "
            f"runs` lists what was kept, and `gradbook resume` goes on with it.",
            file=sys.stderr,
        )
    return code if code > 0 else 128 - code
