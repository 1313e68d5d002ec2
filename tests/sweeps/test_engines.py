"""Every engine gives the outcomes that one call after the other would give."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import cloudpickle
import psutil
import pytest
import torch
from tests.patience import LONGEST, await_true

from gradbook.cli.classes import MODEL, find
from gradbook.errors import ConfigError, MissingExtraError
from gradbook.sweeps.engines import (
    Done,
    Failed,
    check_engine,
    cluster,
    engine,
    ray,
    run_all,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes and signals"),
]

CLUSTERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("ray", "dask")]
ENGINES = ["processes", *CLUSTERS]


@pytest.fixture(autouse=True)
def functions_travel_as_copies():
    """A worker need not import this file, which imports much."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


#: What a program begins with: a busy machine may keep a cluster, or a worker, from its answer.
PATIENT = f"""
from gradbook.sweeps.engines import cluster, engine
cluster.ANSWER_SECONDS = engine.GRACE_SECONDS = {LONGEST}
"""


@pytest.fixture(scope="module", autouse=True)
def patient():
    """The same for this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "ANSWER_SECONDS", LONGEST)
        patch.setattr(engine, "GRACE_SECONDS", LONGEST)
        yield


# What is run


def call(function):
    return function()


def draw(seed=0):
    return random.Random(seed).random()


def refuse():
    raise ValueError("this is not allowed")


def warn_twice():
    for _ in range(2):
        warnings.warn("careful", UserWarning, stacklevel=1)
    return 5


def num_threads():
    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


CALLS = {
    "draw 1": partial(draw, 1),
    "refuse": refuse,
    "warn": warn_twice,
    "exit": partial(sys.exit, 3),
    "lock": threading.Lock,
    "threads": num_threads,
    "draw 2": partial(draw, 2),
}


def draw_but_die_at_2(folder, seed):
    with open(folder / f"begun-{seed}", "a") as file:
        file.write(".")
    if seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(seed)


def draw_but_wait_at_2(folder, seed):
    """The first time, the call 2 waits to be killed from outside."""
    begun = folder / f"begun-{seed}"
    with open(begun, "a") as file:
        file.write(".")
    if seed == 2 and begun.read_text() == ".":
        part = folder / "part"
        part.write_text(str(os.getpid()))
        part.rename(folder / "pid")
        time.sleep(2 * LONGEST)
    return draw(seed)


def wait_if(folder, waits):
    (folder / f"pid-{os.getpid()}").touch()
    if waits:
        time.sleep(2 * LONGEST)


def overlap(folder, item):
    mark = folder / f"running-{item}"
    mark.touch()
    time.sleep(0.05)
    number = len(list(folder.glob("running-*")))
    mark.unlink()
    return number


def module_of(thing):
    return type(thing).__module__, thing.answer()


# Clusters, as a user has them


@contextmanager
def dask_cluster(folder):
    """A scheduler and two workers, started as Dask's documentation says."""

    def command(part):
        options = ["--scheduler-file", str(folder / "scheduler.json"), "--no-dashboard"]
        return [sys.executable, "-m", f"distributed.cli.dask_{part}", *options]

    variables = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with open(folder / "log", "wb") as log:
        start = partial(
            subprocess.Popen, stdout=log, stderr=log, env=variables, start_new_session=True
        )
        scheduler = start(
            [*command("scheduler"), "--host", "127.0.0.1", "--port", "0"],
        )
        workers = start(
            [*command("worker"), "--nworkers", "2", "--nthreads", "1"],
            cwd=folder,
        )
    try:
        await_true((folder / "scheduler.json").exists)
        await_true(lambda: "address" in (folder / "scheduler.json").read_text())
        address = json.loads((folder / "scheduler.json").read_text())["address"]
        from distributed import Client

        with Client(address, timeout=LONGEST, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=LONGEST)
        yield address, scheduler
    finally:
        for process in (workers, scheduler):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def dask_address(tmp_path_factory):
    """The address of a cluster of two workers."""
    with dask_cluster(tmp_path_factory.mktemp("dask")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def ray_address():
    """A cluster of two workers, to which this process is connected already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", "whoever does not know this is sent away by the cluster")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        from ray import init, shutdown

        with ray._own_signals():
            context = init(
                "local",
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
            )
        yield context.address_info["gcs_address"]
        shutdown()
        shutil.rmtree(context.address_info["session_dir"])


@pytest.fixture(scope="module", params=ENGINES)
def on(request):
    """An engine: our own processes, or the cluster of this file."""
    if request.param == "dask":
        return f"dask:{request.getfixturevalue('dask_address')}"
    if request.param == "ray":
        request.getfixturevalue("ray_address")
    return request.param


def outcomes_of(function, items, **settings):
    """The outcomes in the order of the items."""
    return sorted(run_all(function, items, **settings), key=lambda outcome: outcome.index)


@pytest.fixture(scope="module")
def outcomes(on):
    """What comes of CALLS, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        found = outcomes_of(call, CALLS.values(), on=on, num_workers=2, threads_per_worker=1)
    assert [outcome.index for outcome in found] == list(range(len(CALLS)))
    return dict(zip(CALLS, found, strict=True))


# What comes of the calls


def test_results_are_those_of_one_call_after_the_other(outcomes):
    assert outcomes["draw 1"] == Done(0, draw(1))
    assert outcomes["draw 2"] == Done(6, draw(2))


def test_an_exception_is_reported_with_its_place_and_the_rest_goes_on(outcomes):
    line = refuse.__code__.co_firstlineno + 1
    error = f"ValueError: this is not allowed ({__file__}, line {line})"
    assert outcomes["refuse"] == Failed(1, error, 1, was_killed=False)


def test_warnings_come_with_the_outcome_each_once(outcomes):
    assert outcomes["warn"] == Done(2, 5, ("UserWarning: careful",))


def test_sys_exit_in_a_call_is_a_failure_of_that_call(outcomes):
    assert outcomes["exit"].error.startswith("SystemExit: 3")


def test_a_result_that_cannot_be_sent_back_is_a_failure(outcomes):
    assert outcomes["lock"].error.startswith("TypeError: cannot pickle '_thread.lock'")


def test_a_worker_uses_as_many_threads_as_it_is_told_to(outcomes):
    assert outcomes["threads"].value == (1, "1")


def test_a_killed_worker_is_replaced_and_its_call_begun_anew(on, tmp_path):
    def kill():
        await_true((tmp_path / "pid").exists)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = outcomes_of(partial(draw_but_wait_at_2, tmp_path), range(5), on=on, num_workers=2)
    killer.join()
    assert found == [Done(seed, draw(seed)) for seed in range(5)]
    begun = {path.name[-1]: len(path.read_text()) for path in tmp_path.glob("begun-*")}
    assert begun.pop("2") == 2
    # What ran beside it, and had not been handed over, may have been begun anew as well.
    assert begun.keys() == set("0134")
    assert set(begun.values()) <= {1, 2}


def test_a_call_that_kills_its_worker_each_time_is_reported_and_the_rest_goes_on(on, tmp_path):
    found = outcomes_of(partial(draw_but_die_at_2, tmp_path), range(5), on=on, num_workers=2)
    failed = found.pop(2)
    assert [outcome.value for outcome in found] == [draw(seed) for seed in (0, 1, 3, 4)]
    assert (failed.index, failed.attempts, failed.was_killed) == (2, 2, True)
    assert (tmp_path / "begun-2").read_text() == ".."
    assert (tmp_path / "begun-1").read_text() == "."


def test_a_killed_call_is_not_begun_anew_where_no_retries_are_wanted(tmp_path):
    kill = partial(draw_but_die_at_2, tmp_path)
    (failed,) = run_all(kill, [2], num_workers=1, retries=0)
    assert failed.attempts == 1
    assert "SIGKILL" in failed.error


def test_here_outcomes_are_the_same_except_for_what_is_not_sent(recwarn):
    warnings.simplefilter("always")
    names = ["draw 1", "refuse", "warn", "exit"]
    found = outcomes_of(call, [CALLS[name] for name in names], on="here")
    assert found[0] == Done(0, draw(1))
    assert found[1].error.startswith("ValueError: this is not allowed")
    assert found[2] == Done(2, 5, ("UserWarning: careful",))
    assert found[3].error.startswith("SystemExit: 3")


def test_no_items_give_no_outcomes():
    assert list(run_all(draw, [])) == []


# Workers


def test_here_the_number_of_threads_is_put_back(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    (done,) = run_all(call, [num_threads], on="here", threads_per_worker=3)
    assert done.value == (3, "3")
    assert torch.get_num_threads() == before
    assert "OMP_NUM_THREADS" not in os.environ


def test_workers_share_the_processors(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 9)
    (done, *_) = run_all(os.getenv, ["OMP_NUM_THREADS"] * 2, num_workers=2)
    assert done.value == "4"


def test_no_more_calls_run_at_once_than_are_asked_for(on, tmp_path):
    found = run_all(partial(overlap, tmp_path), range(4), on=on, num_workers=1)
    assert [outcome.value for outcome in found] == [1, 1, 1, 1]


def test_a_worker_process_that_asks_for_input_is_not_left_waiting():
    (failed,) = run_all(call, [input], num_workers=1)
    assert failed.error.startswith("EOFError")


def test_processes_and_semaphores_are_gone_after_the_last_outcome():
    pids = {outcome.value for outcome in run_all(call, [os.getpid] * 3, num_workers=2)}
    assert os.getpid() not in pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not list(Path("/dev/shm").glob(f"sem.loky-{os.getpid()}-*"))


def test_leaving_the_outcomes_early_ends_the_workers(tmp_path):
    with closing(run_all(partial(wait_if, tmp_path), [False, True], num_workers=2)) as found:
        next(found)
        await_true(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    pids = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_outcomes_that_nobody_asks_for_leave_nothing_behind(monkeypatch):
    closed, leave = [], engine.Engine.__exit__
    monkeypatch.setattr(
        engine.Engine, "__exit__", lambda self, *kind: [leave(self, *kind), closed.append(self)]
    )
    run_all(draw, [1])
    assert len(closed) == 1


# What travels


NET = """
def number(): return 41
class Net:
    def training_step(self): pass
    def configure_optimizers(self): pass
    def answer(self): return number() + 1
"""


@pytest.mark.parametrize("name", ["learners_net.py", "statistics.py"])
def test_classes_of_a_learners_file_are_known_in_the_worker(on, name, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    file = tmp_path / name
    file.write_text(NET)
    try:
        Net = find(f"{file}:Net", MODEL).Class
        (done,) = run_all(module_of, [Net()], on=on, num_workers=1)
        assert done.value == (Net.__module__, 42)
    finally:
        for module in set(sys.modules) - before:
            if getattr(sys.modules[module], "__file__", None) == str(file):
                del sys.modules[module]


def test_a_function_that_cannot_be_sent_is_refused_before_anything_runs():
    lock = threading.Lock()
    with pytest.raises(ConfigError, match=r"cannot be sent to a worker: .*lock.* inside it"):
        run_all(lambda item: lock, [1])


def test_an_item_that_cannot_be_sent_fails_alone():
    first, second = outcomes_of(type, [threading.Lock(), 1], num_workers=1)
    assert "cannot be sent to a worker" in first.error
    assert (first.attempts, first.was_killed) == (0, False)
    assert second == Done(1, int)


def test_a_worker_does_not_wait_for_libraries_that_its_calls_do_not_need():
    names = {"torch", "ray", "distributed"}
    code = f"import gradbook.sweeps.engines, sys; print(*{names} & set(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "\n"


# Settings that cannot be used


def test_an_unknown_engine_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"on is one of here, .*'rai'. Did you mean 'ray'"):
        run_all(draw, [1], on="rai")


@pytest.mark.parametrize(
    ("on", "match"),
    [
        ("here:1", "'here' has no address"),
        ("dask:8786", "no address of the form HOST:PORT"),
        ("dask:tcp://host:port", "no address of the form HOST:PORT"),
        (7, "on must be one of here, processes, ray, dask, or a Client"),
    ],
)
def test_an_address_that_is_none_is_refused(on, match):
    with pytest.raises(ConfigError, match=match):
        run_all(draw, [1], on=on)


@pytest.mark.parametrize(
    "setting", [{"num_workers": 0}, {"retries": -1}, {"threads_per_worker": 1.5}]
)
def test_numbers_that_make_no_sense_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        run_all(draw, [1], **setting)


@pytest.mark.parametrize("name", ["ray:", "dask:tcp://"])
def test_an_address_where_nothing_answers_is_named(name):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        on = f"{name}127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConfigError, match=f"No cluster answers at the address in on='{on}'"):
        run_all(draw, [1], on=on)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ray:", "dask:tcp://"])
def test_an_address_where_something_else_answers_is_named(name, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        on = f"{name}127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"No cluster answers at the address in on='{on}'"):
            run_all(draw, [1], on=on)


def test_ray_is_asked_only_once_whether_it_answers(monkeypatch):
    commands = []

    def answer(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, returncode=0)

    monkeypatch.setattr(subprocess, "run", answer)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        check_engine(f"ray:{address}")
        check_engine(f"ray:{address}")
    assert [command[-1] for command in commands] == [address]
    with pytest.raises(ConfigError, match="No cluster answers"):
        check_engine(f"ray:{address}")


@pytest.mark.parametrize(("on", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(on, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"pip install {package}"):
        run_all(draw, [1], on=on)


@pytest.mark.slow
def test_a_client_of_dasks_is_used_and_left_open(dask_address):
    from distributed import Client

    with Client(dask_address, timeout=LONGEST, set_as_default=False) as client:
        (done,) = run_all(draw, [3], on=client)
        assert done == Done(0, draw(3))
        assert client.status == "running"


@pytest.mark.slow
def test_a_dask_cluster_that_ends_meanwhile_is_an_error(monkeypatch, tmp_path):
    # To connect to the cluster, and to get it back.
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 20)
    with (
        dask_cluster(tmp_path) as (address, scheduler),
        closing(run_all(time.sleep, [0, 600, 600], on=f"dask:{address}")) as found,
    ):
        assert next(found) == Done(0, None)
        scheduler.kill()
        with pytest.raises(ConfigError, match="no longer answers"):
            next(found)


@pytest.mark.slow
def test_a_ray_cluster_is_found_by_its_address(ray_address):
    script = f"""{PATIENT}
import sys
from gradbook.sweeps.engines import run_all
print([done.value for done in run_all(abs, [-3], on=sys.argv[1])])
"""
    command = [sys.executable, "-c", script, f"ray:{ray_address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    assert done.stdout == "[3]\n", done.stderr


# Whole programs


SCRIPT = f"""{PATIENT}
import sys, time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from gradbook.sweeps.engines import run_all

class Number:
    def __init__(self, value):
        self.value = value

def work(item):
    if isinstance(item, Number):
        return Number(2 * item.value)
    try:
        Path(item + "-begun").touch()
        for _ in range(60000):
            time.sleep(0.01)
    except KeyboardInterrupt:
        Path(item + "-stopped").touch()
        raise

arrived = engine.Engine.arrived

def arrived_and_told(self, *timeout):
    if sorted(self.running.values()) == [2, 3]:  # the others have been printed
        Path("waiting").touch()
    return arrived(self, *timeout)

engine.Engine.arrived = arrived_and_told
items = [Number(1), Number(2), "a", "b"]
with closing(run_all(work, items, on=sys.argv[1], num_workers=2)) as outcomes:
    for done in outcomes:
        assert type(done.value) is Number, done
        print(done.value.value, flush=True)
"""


class Program:
    """The script above, which has two calls running when it is stopped with a signal."""

    def __init__(self, folder, on, number):
        self.folder = folder
        (folder / "script.py").write_text(SCRIPT)
        # A short path, because Ray's sockets have their names in it.
        temporary = tempfile.TemporaryDirectory(dir="/tmp")
        with (
            temporary,
            subprocess.Popen(
                [sys.executable, "script.py", on],
                cwd=folder,
                env={**os.environ, "TMPDIR": temporary.name},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            ) as process,
        ):
            try:
                told = [folder / name for name in ("a-begun", "b-begun", "waiting")]
                await_true(lambda: process.poll() is not None or all(p.exists() for p in told))
                family = process.poll() is None and psutil.Process(process.pid).children(True)
                if family:
                    os.killpg(process.pid, number)  # as a terminal does
                self.stdout, self.stderr = process.communicate(timeout=LONGEST)
                assert family, self.stderr
            finally:
                process.kill()
            # A helper of Python's own ends when it sees that its program has.
            _, self.left = psutil.wait_procs(family, timeout=LONGEST)
            self.left_files = [p for p in Path(temporary.name).rglob("*") if not p.is_dir()]
        self.pid, self.code, self.num_processes = process.pid, process.returncode, len(family)


@pytest.fixture(scope="module", params=ENGINES)
def interrupted(request, tmp_path_factory):
    return Program(tmp_path_factory.mktemp("interrupted"), request.param, signal.SIGINT)


def test_classes_of_a_script_are_known_in_the_worker(interrupted):
    assert sorted(interrupted.stdout.split()) == ["2", "4"]


def test_ctrl_c_reaches_the_running_calls_and_the_program(interrupted):
    stopped = {path.name for path in interrupted.folder.glob("*-stopped")}
    assert stopped == {"a-stopped", "b-stopped"}
    assert interrupted.code == -signal.SIGINT
    assert interrupted.stderr.count("Traceback") == 1
    assert interrupted.stderr.count("Stopping what runs") == 1
    assert interrupted.stderr.rstrip().endswith("KeyboardInterrupt")


def test_ctrl_c_leaves_no_process_and_no_file_behind(interrupted):
    assert interrupted.num_processes >= 2
    assert interrupted.left == []
    assert interrupted.left_files == []
    assert not list(Path("/dev/shm").glob(f"sem.loky-{interrupted.pid}-*"))


def test_a_program_that_never_closes_its_outcomes_ends(tmp_path):
    script = f"""{PATIENT}
import os, time
from gradbook.sweeps.engines import run_all
outcomes = run_all(lambda wait: time.sleep(wait) or os.getpid(), [0, 600, 600], num_workers=2)
print(next(outcomes).value)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=True)
    assert done.stderr == ""
    assert not psutil.pid_exists(int(done.stdout))


def test_worker_processes_do_not_outlive_a_killed_program(tmp_path):
    assert Program(tmp_path, "processes", signal.SIGKILL).left == []
