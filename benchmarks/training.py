"""How long an epoch takes: gradbook, the plain loop, and its peers, in one run.

    python benchmarks/training.py
    python benchmarks/training.py --python keras=/path/to/python --json results.json

Measured is one epoch of training on Fashion-MNIST plus validation, for the contenders that
contenders.py describes. Each contender has a process of its own, which trains one epoch when it
is told to and then waits. So the contenders take turns, epoch by epoch, and what slows the
machine down for a while slows all of them. The figure to look at is the ratio: in each round a
contender's seconds are divided by those of the plain loop in the same round, and the median of
these ratios is reported.

Two threads that wait for each other many times in a millisecond suffer badly when a third program
takes one of their processors. So, on Linux, an epoch begins when the machine is quiet, and one in
which other programs used the processors is repeated, as long as the patience lasts.

Peers are measured if they are installed. One that lives in another environment is named with
`--python PEER=INTERPRETER`; its environment needs nothing of gradbook.
"""

import argparse
import contextlib
import fnmatch
import json
import math
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Contender

HERE = Path(__file__).parent
WORKER = HERE / "contenders.py"
BASELINE = "plain"
MODELS = {
    "softmax": "softmax regression from scratch",
    "concise": "softmax regression, nn.Linear with cross-entropy",
    "mlp": "MLP 784-256-10",
}
#: Seconds after which a silent contender is given up.
PATIENCE_SECONDS = 600


class ContenderError(Exception):
    """A contender that did not start, or broke."""


@dataclass
class Options:
    """What is measured and how often."""

    models: list[str]
    contenders: list[str]
    rounds: int
    warmups: int
    threads: int
    limit: int | None
    patience: float
    imports: int
    quality: int
    epochs: int
    pythons: dict[str, str]
    json: Path | None


# Interpreters and what they have


@dataclass
class Interpreters:
    """The interpreter of each peer, and the versions of what is installed there."""

    by_peer: dict[str, str]
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def python(self, peer: str) -> str:
        """The interpreter for a peer: the one that was named, or the current one."""
        return self.by_peer.get(peer, sys.executable)

    def installed(self, python: str) -> dict[str, str]:
        """The versions in one interpreter."""
        if python not in self.versions:
            output = subprocess.run(
                [python, WORKER, "installed"], capture_output=True, text=True, check=True
            ).stdout
            self.versions[python] = json.loads(output)
        return self.versions[python]

    def lacks(self, entry: Contender) -> list[str]:
        """The distributions that a contender needs and does not have."""
        there = self.installed(self.python(entry.peer))
        return [name for name in entry.needs if name not in there]


# A contender in its own process


class Worker:
    """One contender that trains one model, an epoch at a time.

    Args:
        name: A key of CONTENDERS.
        python: The interpreter to run it in.
        task: The fields of `contenders.Task`, without the address.
    """

    def __init__(self, name: str, python: str, task: dict[str, Any]) -> None:
        self.name = name
        self.accuracies: list[float] = []
        self.drawn_bytes = 0
        self.peak_bytes: int | None = None
        self._closing = contextlib.ExitStack()
        self._log = self._closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        try:
            self._start(CONTENDERS[name].place, python, task)
        except BaseException:
            self._closing.close()
            raise

    def _start(self, place: str, python: str, task: dict[str, Any]) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(60)
        with server:
            text = json.dumps({**task, "address": server.getsockname()})
            environment = {
                **os.environ,
                **dict.fromkeys(
                    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
                    str(task["threads"]),
                ),
            }
            start = {
                "process": self._start_process,
                "terminal": self._start_in_terminal,
                "notebook": self._start_in_notebook,
            }[place]
            start([python, str(WORKER), "serve", text], environment)
            try:
                connection, _ = server.accept()
            except TimeoutError:
                raise ContenderError(f"{self.name} did not start: {self._said()}") from None
        self._closing.callback(connection.close)
        connection.settimeout(PATIENCE_SECONDS)
        self._wire = self._closing.enter_context(connection.makefile("rw", encoding="utf-8"))
        self._receive()

    def _start_process(self, command: list[str], environment: dict[str, str]) -> None:
        self._run(command, environment, stdin=subprocess.DEVNULL, stdout=self._log)

    def _run(self, command: list[str], environment: dict[str, str], **kwargs: Any) -> None:
        kwargs.setdefault("stderr", self._log)
        process = subprocess.Popen(command, env=environment, **kwargs)

        def end() -> None:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

        self._closing.callback(end)

    def _start_in_terminal(self, command: list[str], environment: dict[str, str]) -> None:
        """Runs under a pseudo-terminal of 80 x 30, read from at the other end."""
        import fcntl
        import pty
        import struct
        import termios

        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))

        def drain() -> None:
            while True:
                try:
                    output = os.read(ours, 1 << 16)
                except OSError:  # the other end is closed
                    return
                if not output:
                    return
                self.drawn_bytes += len(output)
                self._log.write(output)

        reader = threading.Thread(target=drain, daemon=True)

        def close() -> None:
            reader.join(timeout=30)
            os.close(ours)

        self._closing.callback(close)
        environment = {**environment, "TERM": "xterm-256color"}
        self._run(command, environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        reader.start()

    def _start_in_notebook(self, command: list[str], environment: dict[str, str]) -> None:
        """Runs in a cell of a Jupyter kernel, whose messages are received as a page would."""
        from jupyter_client.kernelspec import KernelSpec
        from jupyter_client.manager import KernelManager

        python, _, _, text = command
        manager = KernelManager()
        manager._kernel_spec = KernelSpec(
            argv=[python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        )
        manager.start_kernel(env=environment, stdout=self._log, stderr=self._log)
        self._closing.callback(manager.shutdown_kernel, now=True)
        client = manager.client()
        client.start_channels()
        self._closing.callback(client.stop_channels)
        client.wait_for_ready(timeout=60)
        ended = threading.Event()

        def drain() -> None:
            import queue

            while not ended.is_set():
                try:
                    message = client.get_iopub_msg(timeout=0.5)
                except queue.Empty:
                    continue
                if message["msg_type"] in ("display_data", "update_display_data"):
                    self.drawn_bytes += sum(
                        len(value)
                        for value in message["content"]["data"].values()
                        if isinstance(value, str)
                    )
                elif message["msg_type"] == "error":
                    self._log.write("\n".join(message["content"]["traceback"]).encode())

        reader = threading.Thread(target=drain, daemon=True)
        reader.start()
        self._closing.callback(reader.join)
        self._closing.callback(ended.set)
        client.execute(
            f"import sys; sys.path.insert(0, {str(HERE)!r}); sys.argv = ['']\n"
            f"%matplotlib inline\n"
            f"import contenders; contenders.serve_json({text!r})"
        )

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:] or "it said nothing"

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._wire.readline()
        except TimeoutError:
            raise ContenderError(f"{self.name} gave no answer for {PATIENCE_SECONDS} s") from None
        if not line:
            raise ContenderError(f"{self.name} ended: {self._said()}")
        message = json.loads(line)
        if "error" in message:
            raise ContenderError(f"{self.name} failed: {message['error']}")
        return message

    def _send(self, text: str) -> None:
        self._wire.write(text + "\n")
        self._wire.flush()

    def epoch(self) -> dict[str, float]:
        """Lets the contender train and validate once; the keys are those of `end_epoch`."""
        self._send("go")
        message = self._receive()
        self.accuracies.append(message["accuracy"])
        self.peak_bytes = message["peak_bytes"]
        return message

    def close(self) -> None:
        """Ends the training and the process."""
        with contextlib.suppress(OSError):
            self._send("stop")
        self._closing.close()


# Measuring


def busy_seconds() -> float | None:
    """Processor seconds that this machine has spent on anything since it started."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(value) for value in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Quiet:
    """Keeps other programs out of the measurements.

    Args:
        patience: The seconds to spend on waiting and on repeated epochs, in all.
    """

    #: Processors that others may use, and seconds of that which the clock cannot tell from 0.
    NOISE, RESOLUTION = 0.1, 0.03

    def __init__(self, patience: float) -> None:
        self.patience = patience if busy_seconds() is not None else 0.0
        self.num_epochs = self.num_disturbed = 0

    def wait(self) -> None:
        """Returns when nothing else runs, or when the patience is at an end."""
        while self.patience > 0:
            started, busy = time.perf_counter(), busy_seconds()
            time.sleep(0.1)
            seconds = time.perf_counter() - started
            if busy_seconds() - busy <= self.NOISE * seconds + 0.01:
                return
            self.patience -= seconds

    def epoch(self, worker: Worker) -> dict[str, float]:
        """One epoch of a worker: an undisturbed one, or the least disturbed of several."""
        best, least = None, math.inf
        self.num_epochs += 1
        while True:
            self.wait()
            started, busy = time.perf_counter(), busy_seconds()
            own = time.process_time()
            message = worker.epoch()
            if busy is None:
                return message
            seconds = time.perf_counter() - started
            ours = message["cpu_seconds"] + time.process_time() - own
            others = max(busy_seconds() - busy - ours - self.RESOLUTION, 0) / seconds
            if others < least:
                best, least = message, others
            if others <= self.NOISE:
                return message
            self.patience -= seconds
            if self.patience <= 0:
                self.num_disturbed += 1
                return best


@dataclass
class Result:
    """What was measured of one contender with one model."""

    name: str
    model: str
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    accuracy: float = math.nan
    peak_bytes: int | None = None
    drawn_bytes: int = 0


def measure_epochs(
    model: str,
    names: Sequence[str],
    options: Options,
    interpreters: Interpreters,
    task: dict,
    quiet: Quiet,
) -> list[Result]:
    """Rounds in which every contender trains one epoch, in a new random order each time."""
    results = {name: Result(name, model) for name in names}
    order = random.Random(0)
    workers: dict[str, Worker] = {}
    with contextlib.ExitStack() as closing:

        def give_up(name: str, error: ContenderError) -> None:
            print(f"{name} is left out. {error}", file=sys.stderr)
            results.pop(name)
            if name == BASELINE:
                raise error

        for name in names:
            python = interpreters.python(CONTENDERS[name].peer)
            try:
                worker = Worker(name, python, {**task, "contender": name, "model": model})
            except ContenderError as error:
                give_up(name, error)
            else:
                workers[name] = worker
                closing.callback(worker.close)
        for number in range(options.warmups + options.rounds):
            turn = list(workers)
            order.shuffle(turn)
            for name in turn:
                show(f"{model}: round {number + 1}, {name}")
                try:
                    message = (
                        quiet.epoch(workers[name])
                        if number >= options.warmups
                        else workers[name].epoch()
                    )
                except ContenderError as error:
                    give_up(name, error)
                    del workers[name]
                    continue
                result, worker = results[name], workers[name]
                result.peak_bytes, result.drawn_bytes = worker.peak_bytes, worker.drawn_bytes
                if number >= options.warmups:
                    result.seconds.append(message["seconds"])
                # Repeated epochs train too: compare everybody after the same number of them.
                result.accuracy = worker.accuracies[number]
        show("")
    baseline = results[BASELINE].seconds
    for result in results.values():
        result.ratios = [s / b for s, b in zip(result.seconds, baseline, strict=True)]
    return list(results.values())


def measure_imports(
    rounds: int, interpreters: Interpreters, quiet: Quiet
) -> dict[str, list[float]]:
    """Seconds of `import ...` in fresh processes, in turns."""
    python = interpreters.python("gradbook")
    statements = {
        "import torch": (python, "import torch"),
        "import gradbook": (python, "import gradbook"),
        "import gradbook, and its Trainer": (python, "import gradbook; gradbook.Trainer"),
        "from d2l import torch (gradbook's)": (python, "from d2l import torch"),
    }
    if not interpreters.lacks(CONTENDERS["d2l"]):
        original = interpreters.python("d2l")
        statements |= {
            "import torch (the original's environment)": (original, "import torch"),
            "from d2l import torch (the original)": (
                original,
                "import torchvision_standin as t_v; t_v.install(None); from d2l import torch",
            ),
        }
    seconds: dict[str, list[float]] = {name: [] for name in statements}
    for number in range(rounds + 1):  # the first fills the disk's cache
        for name, (python, statement) in statements.items():
            show(f"imports: round {number + 1}, {name}")
            code = (
                f"import sys, time; sys.path.insert(0, {str(HERE)!r}); t = time.perf_counter()\n"
                f"{statement}\nprint(time.perf_counter() - t)"
            )
            quiet.wait()
            done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode:
                if number == 0:
                    print(f"{name} fails: {done.stderr.strip()[-300:]}", file=sys.stderr)
            elif number > 0:
                seconds[name].append(float(done.stdout.split()[-1]))
    show("")
    return {name: values for name, values in seconds.items() if values}


def measure_quality(
    model: str, names: Sequence[str], options: Options, interpreters: Interpreters, task: dict
) -> dict[str, list[float]]:
    """Validation accuracy after `options.epochs` epochs, a value for each seed.

    One thread is enough where nothing is timed, and does not mind other programs.
    """
    task = {**task, "threads": 1}
    accuracies: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(options.quality):
        for name in names:
            show(f"quality: {model}, seed {seed}, {name}")
            python = interpreters.python(CONTENDERS[name].peer)
            worker = Worker(name, python, {**task, "contender": name, "model": model, "seed": seed})
            with contextlib.closing(worker):
                for _ in range(options.epochs):
                    worker.epoch()
            accuracies[name].append(worker.accuracies[-1])
    show("")
    return accuracies


# Reporting


def show(text: str) -> None:
    """A line of progress, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def processor() -> str:
    """The name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def spread(values: Sequence[float], digits: int) -> tuple[str, str]:
    """Median, and lowest to highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f}", f"{low:.{digits}f} to {high:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose source is aligned, with the first column to the left."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *others]) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def epochs_table(results: Sequence[Result]) -> str:
    """The main table: time, ratio, memory."""
    rows = []
    for result in sorted(results, key=lambda result: statistics.median(result.ratios)):
        peak = "" if result.peak_bytes is None else f"{result.peak_bytes / 2**20:.0f}"
        accuracy = "" if math.isnan(result.accuracy) else f"{result.accuracy:.3f}"
        rows.append(
            [
                CONTENDERS[result.name].title,
                *spread(result.seconds, 3),
                *spread(result.ratios, 2),
                accuracy,
                peak,
            ]
        )
    head = ["contender", "s/epoch", "range", "ratio", "range", "val acc", "peak MiB"]
    return table(head, rows)


def display_table(results: Sequence[Result]) -> str | None:
    """What a live board costs: the same contender with and without, round by round."""
    by_name = {result.name: result for result in results}
    rows = []
    for name, result in by_name.items():
        entry = CONTENDERS[name]
        without = by_name.get(name.removesuffix("-terminal").removesuffix("-notebook"))
        if entry.place == "process" or without is None:
            continue
        pairs = list(zip(result.seconds, without.seconds, strict=True))
        extra = [1000 * (on - off) for on, off in pairs]
        drawn = f"{result.drawn_bytes / 1024:.0f}" if result.drawn_bytes else "nothing!"
        ratio = [on / off for on, off in pairs]
        rows.append([entry.title, *spread(extra, 0), *spread(ratio, 2), drawn])
    if not rows:
        return None
    return table(["display", "ms/epoch more", "range", "on / off", "range", "KiB drawn"], rows)


def imports_table(seconds: dict[str, list[float]]) -> str:
    """Import times, and what they add to PyTorch's own in the same round."""
    rows = []
    for name, values in seconds.items():
        original = "original" in name
        torch_seconds = seconds[
            "import torch (the original's environment)" if original else "import torch"
        ]
        extra = [1000 * (s - t) for s, t in zip(values, torch_seconds, strict=True)]
        # Without PyTorch there is nothing to subtract.
        beyond = spread(extra, 0)[0] if statistics.median(extra) > -100 else "no torch"
        rows.append([name, *spread(values, 2), beyond])
    return table(["statement", "s", "range", "ms beyond torch"], rows)


def quality_table(model: str, accuracies: dict[str, list[float]]) -> str:
    """Mean and standard deviation over the seeds."""
    rows = []
    for name, values in accuracies.items():
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        mean = statistics.mean(values)
        rows.append([CONTENDERS[name].title, f"{mean:.4f}", f"{deviation:.4f}"])
    return table([MODELS[model], "mean accuracy", "std"], rows)


# The command


def parse(arguments: Sequence[str] | None) -> Options:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog=f"Contenders: {', '.join(CONTENDERS)}.",
    )
    add = parser.add_argument
    add("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)} (default: all)")
    add(
        "--contenders",
        default="*",
        metavar="NAMES",
        help="names or patterns such as 'gradbook*', with commas; the plain loop always runs",
    )
    add(
        "--rounds",
        type=int,
        default=7,
        help="measured rounds; 0 leaves the epochs out (default: 7)",
    )
    add("--warmups", type=int, default=2, help="rounds before those (default: %(default)s)")
    add("--threads", type=int, default=2, help="threads of each contender (default: %(default)s)")
    add(
        "--python",
        action="append",
        default=[],
        metavar="PEER=INTERPRETER",
        help="where peers live, such as keras=/path/to/python; several peers with commas",
    )
    add(
        "--patience",
        type=float,
        default=300,
        metavar="SECONDS",
        help="time to spend on waiting for a quiet machine, in all (default: %(default)g)",
    )
    add("--imports", type=int, default=7, help="rounds of import times (default: %(default)s)")
    add(
        "--quality",
        type=int,
        default=0,
        metavar="SEEDS",
        help="also compare accuracies over so many seeds; takes minutes",
    )
    add("--epochs", type=int, default=10, help="epochs for --quality (default: %(default)s)")
    add("--limit", type=int, metavar="N", help="use N images of each split: a trial, not a result")
    add("--json", type=Path, metavar="FILE", help="where to write everything that was measured")
    values = parser.parse_args(arguments)

    models = values.models.split(",")
    for model in models:
        if model not in MODELS:
            parser.error(f"no model {model!r}; there are {', '.join(MODELS)}")
    patterns = values.contenders.split(",")
    for pattern in patterns:
        if not fnmatch.filter(CONTENDERS, pattern):
            parser.error(f"no contender {pattern!r}; there are {', '.join(CONTENDERS)}")
    pythons = {}
    for pair in values.python:
        peers, separator, path = pair.partition("=")
        if not separator:
            parser.error(f"--python needs PEER=INTERPRETER, but got {pair!r}")
        known = {entry.peer for entry in CONTENDERS.values()}
        for peer in peers.split(","):
            if peer not in known:
                parser.error(f"no peer {peer!r}; there are {', '.join(sorted(known))}")
            pythons[peer] = path
    names = [
        name
        for name in CONTENDERS
        if name == BASELINE or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]
    return Options(
        models=models,
        contenders=names,
        rounds=max(values.rounds, 0),
        warmups=max(values.warmups, 0),
        threads=max(values.threads, 1),
        limit=values.limit,
        patience=values.patience,
        imports=values.imports,
        quality=values.quality,
        epochs=values.epochs,
        pythons=pythons,
        json=values.json,
    )


def available(options: Options, interpreters: Interpreters) -> Iterator[str]:
    """The wanted contenders that can run here; says of the others why not."""
    for name in options.contenders:
        entry = CONTENDERS[name]
        lacking = interpreters.lacks(entry)
        if entry.place == "terminal" and os.name != "posix":
            print(f"{name}: needs a pseudo-terminal, which this system has not", file=sys.stderr)
        elif lacking:
            print(f"{name}: not installed: {', '.join(lacking)}", file=sys.stderr)
        else:
            yield name


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    interpreters = Interpreters(options.pythons)
    names = list(available(options, interpreters))
    with tempfile.TemporaryDirectory() as folder:
        exported = subprocess.run(
            [interpreters.python("gradbook"), WORKER, "export", folder, json.dumps(options.limit)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        data = json.loads(exported.stdout)
        about = {
            "date": time.strftime("%Y-%m-%d"),
            "processor": processor(),
            "processors": os.cpu_count(),
            "system": platform.platform(),
            "threads": options.threads,
            "rounds": options.rounds,
            "warmups": options.warmups,
            "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
            "data": data,
            "versions": {
                peer: interpreters.installed(interpreters.python(peer))
                for peer in dict.fromkeys(CONTENDERS[name].peer for name in names)
            },
        }
        print_head(about)
        quiet = Quiet(options.patience)
        report: dict[str, Any] = {"about": about, "epochs": [], "quality": {}}
        task = {
            "folder": folder,
            "limit": options.limit,
            "threads": options.threads,
            "seed": 0,
        }
        for model in options.models if options.rounds else []:
            results = measure_epochs(model, names, options, interpreters, task, quiet)
            report["epochs"] += [vars(result) for result in results]
            print(f"\n{MODELS[model]}\n\n{epochs_table(results)}")
            displays = display_table(results)
            if displays:
                print(f"\n{displays}")
            sys.stdout.flush()
        report["disturbed"] = [quiet.num_disturbed, quiet.num_epochs]
        if quiet.num_disturbed:
            print(f"\n{quiet.num_disturbed} of {quiet.num_epochs} epochs were disturbed.")
        if options.quality:
            rivals = [name for name in ("plain", "gradbook", "gradbook-own") if name in names]
            for model in options.models:
                accuracies = measure_quality(model, rivals, options, interpreters, task)
                report["quality"][model] = accuracies
                print(
                    f"\nValidation accuracy after {options.epochs} epochs, "
                    f"{options.quality} seeds\n\n{quality_table(model, accuracies)}"
                )
    if options.imports:
        report["imports"] = measure_imports(options.imports, interpreters, quiet)
        print(f"\nImport times, {options.imports} rounds\n\n{imports_table(report['imports'])}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def print_head(about: dict[str, Any]) -> None:
    """Says what was run where."""
    data = about["data"]
    print(
        f"{about['date']}, {about['processor']}, {about['processors']} processors, "
        f"{about['threads']} threads, {about['system']}"
    )
    if about["load"]:
        print(f"load averages at the start: {', '.join(f'{x:.1f}' for x in about['load'])}")
    print(
        f"{data['train']:,} training and {data['val']:,} validation images, "
        f"{about['rounds']} rounds after {about['warmups']} to warm up"
    )
    if data["is_sample"]:
        print("NOTE: only the bundled sample was found: epochs are shorter than with all images.")
    for versions in {json.dumps(v): v for v in about["versions"].values()}.values():
        print(", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
