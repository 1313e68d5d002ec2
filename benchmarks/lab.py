"""How `gradbook lab` keeps up, and what it takes from the machine and from a training.

    python benchmarks/lab.py [--folders 1000] [--rounds 6] [--epochs 10] [--seconds 20]

The server runs in a process of its own, and so does a page that listens, which here is a few lines
that read the stream. Softmax regression on Fashion-MNIST, the shortest epoch of the book's
examples, is trained with its run watched and not watched, in turn; the figure is the ratio of the
two in the same round.
"""

import argparse
import http.client
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

import gradbook
from gradbook.lab.answers import written
from gradbook.lab.catalogue import Catalogue
from gradbook.lab.feed import curves_of
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog, read_run, write_run
from gradbook.runs.tail import Tail
from runs import Clock


def make_runs(root: Path, num: int) -> None:
    """Makes copies of a small run, each with a name and a seed of its own."""
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    gradbook.Trainer(5, display=False, run=root).fit(gradbook.LinearRegression(), data)
    (first,) = root.iterdir()
    facts = read_run(first)
    for number in range(2, num + 1):
        copy = shutil.copytree(first, root / f"linear-regression-{number}")
        write_run(copy, {**facts, "name": copy.name, "seed": number})


@contextmanager
def lab(root: Path):
    """A server: its process, its port, and the cookie of its page."""
    command = [sys.executable, "-m", "gradbook", "lab", "--runs", str(root)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(root.parent / "state")},
    )
    try:
        address = next(line.strip() for line in process.stdout if "http://" in line)
        port = int(address.partition("/?")[0].rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", address[address.index("/?") :])
        cookie = connection.getresponse().getheader("set-cookie").partition(";")[0]
        yield process, port, cookie
    finally:
        process.kill()
        process.communicate()


def listen(port: int, cookie: str, query: str, until) -> None:
    """Reads the stream of events until a line says enough."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/api/events?{query}", headers={"Cookie": cookie})
    with connection.getresponse() as stream:
        for line in stream:
            if until(line):
                break
    connection.close()


def has_listed(num: int):
    """Whether so many runs have come, in however many events."""
    found = 0

    def until(line: bytes) -> bool:
        nonlocal found
        found += line.count(b'"kind":"run"')
        return found >= num

    return until


@contextmanager
def page(port: int, cookie: str, query: str):
    """A page that listens, in a process of its own."""
    command = [sys.executable, __file__, "--listen", str(port), cookie, query]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()  # it has got the list
        yield
    finally:
        process.kill()
        process.communicate()


def measure_list(root: Path, num: int, seconds: float) -> None:
    """Prints how fast a list comes, and what it costs to keep it new."""
    catalogue = Catalogue(root)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    catalogue.refresh()
    first, first_cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    looks = []
    for _ in range(50):
        begin_cpu = time.process_time()
        catalogue.refresh()
        looks.append(time.process_time() - begin_cpu)
    show(f"first look at {num} runs", f"{first * 1e3:.0f} ms, {first_cpu * 1e3:.0f} ms of CPU")
    show(f"another look at {num} runs", f"{statistics.median(looks) * 1e3:.1f} ms of CPU")
    with lab(root) as (process, port, cookie):
        listen(port, cookie, "", has_listed(num))
        times, begin_cpu = [], cpu_seconds(process.pid)
        for _ in range(15):
            begin = time.perf_counter()
            listen(port, cookie, "", has_listed(num))
            times.append(time.perf_counter() - begin)
        took = (cpu_seconds(process.pid) - begin_cpu) / len(times)
        show(
            f"list of {num} runs, from the request to the last of them",
            f"{statistics.median(times) * 1e3:.0f} ms ({min(times) * 1e3:.0f} to "
            f"{max(times) * 1e3:.0f}, median of {len(times)}), {took * 1e3:.0f} ms of CPU",
        )
        with page(port, cookie, ""):
            share = busy(process.pid, seconds)
        show(f"idle server, a page open, {num} runs", f"{share:.2%} of a processor")
        show("idle server, no page open", f"{busy(process.pid, seconds):.2%} of a processor")
        memory = psutil.Process(process.pid).memory_info().rss
        show("memory of the server then", f"{memory / 1e6:.0f} MB")


def busy(pid: int, seconds: float) -> float:
    """Which part of a processor a process uses during the next seconds."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / seconds


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    return sum(psutil.Process(pid).cpu_times()[:2])


def measure_curve(folder: Path, num: int = 100_000) -> None:
    """Prints how long a long curve takes from the file to JSON."""
    folder.mkdir()
    log = MetricsLog(folder)
    for step in range(num):
        log.append(Metric("train_loss", step / 100, 1 / (1 + step % 997)))
    log.close()
    tail = Tail(folder)
    begin_cpu = time.process_time()
    while tail.read() or tail.is_behind:
        pass
    took = time.process_time() - begin_cpu
    show(f"{num:,} values read and verified, once", f"{took * 1e3:.0f} ms of CPU")
    times, begin_cpu = [], time.process_time()
    for _ in range(15):
        begin = time.perf_counter()
        text = written(curves_of(tail.since().values))
        times.append(time.perf_counter() - begin)
    took = (time.process_time() - begin_cpu) / len(times)
    took = (
        f"{statistics.median(times) * 1e3:.1f} ms, {took * 1e3:.1f} ms of CPU, "
        f"{len(text) / 1e3:.0f} kB"
    )
    show(f"a curve of {num:,} points, thinned and written", took)


def measure_training(root: Path, rounds: int, epochs: int) -> None:
    """Prints how much slower a training is while a page watches it."""
    data = gradbook.FashionMNIST(batch_size=256)
    root.mkdir()

    def train() -> float:
        clock = Clock()
        sinks = [gradbook.runs.Run(str(root)), clock]
        model = gradbook.SoftmaxRegressionScratch()
        gradbook.Trainer(epochs, display=False, sinks=sinks).fit(model, data)
        shutil.rmtree(next(root.iterdir()))
        return clock.end - clock.begin

    ratios, alone, shares = [], [], []
    with lab(root) as (process, port, cookie):
        for number in range(rounds + 1):
            seconds = {}
            for is_watched in (True, False) if number % 2 else (False, True):
                if is_watched:
                    with page(port, cookie, "curves=softmax-regression-scratch-1"):
                        begin, begin_cpu = time.perf_counter(), cpu_seconds(process.pid)
                        seconds[True] = train()
                        used = cpu_seconds(process.pid) - begin_cpu
                        shares.append(used / (time.perf_counter() - begin))
                else:
                    time.sleep(1)  # nobody listens any more, and nothing is looked at
                    seconds[False] = train()
            if number:  # the first is to warm up
                alone.append(seconds[False])
                ratios.append(seconds[True] / seconds[False])
    show(
        f"{epochs} epochs of softmax regression, watched against not watched",
        f"{statistics.median(ratios):.3f} times ({min(ratios):.3f} to {max(ratios):.3f}, "
        f"{rounds} rounds of {statistics.median(alone):.2f} s)",
    )
    show("the server meanwhile", f"{statistics.median(shares):.2%} of a processor")


def show(what: str, figure: str) -> None:
    print(f"{what:<68} {figure}", flush=True)


def main() -> None:
    """Measures all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--listen", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.listen:
        port, cookie, query = asked.listen
        listen(int(port), cookie, query, lambda line: line[:5] == b"data:" and print(flush=True))
        return
    show("processors, load of the last minute", f"{os.cpu_count()}, {os.getloadavg()[0]:.1f}")
    show("Python, system", f"{platform.python_version()}, {platform.platform()}")
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder, "runs"), asked.folders)
        measure_list(Path(folder, "runs"), asked.folders, asked.seconds)
        measure_curve(Path(folder, "long"))
        if asked.rounds:
            measure_training(Path(folder, "watched"), asked.rounds, asked.epochs)


if __name__ == "__main__":
    main()
