"""An unmarked test starts no process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests import processes

ROOT = Path(__file__).parents[1]

WAYS = {
    "subprocess": "subprocess.run([sys.executable, '-c', ''], check=True)",
    "system": "os.system('true')",
    "posix_spawn": "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "fork": "pid = os.fork()\n    if not pid: os._exit(0)\n    os.waitpid(pid, 0)",
    "forkpty": "pid, end = os.forkpty()\n    if not pid: os._exit(0)\n    os.waitpid(pid, 0)",
    "multiprocessing": "p = get_context('spawn').Process(target=int)\n    p.start()\n    p.join()",
    "loky": "Parallel(2)(delayed(id)(k) for k in range(2))",
}

HEAD = """
import os, subprocess, sys
from multiprocessing import get_context
import pytest
from joblib import Parallel, delayed
def test_none(): pass
@pytest.mark.slow
def test_marked(): os.system("true")
@pytest.fixture
def started(): os.system("true")
def test_fixture(started): pass
"""


@pytest.mark.slow
def test_an_unmarked_test_that_starts_a_process_fails_and_is_told_to_be_marked(tmp_path):
    tests = "".join(f"def test_{name}():\n    {code}\n" for name, code in WAYS.items())
    (tmp_path / "test_it.py").write_text(HEAD + tests)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow")
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.processes"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{len(WAYS) + 1} failed, 2 passed" in done.stdout, done.stdout + done.stderr
    for name in (*WAYS, "fixture"):
        assert f"test_{name} - Failed: starts a process" in done.stdout
    assert done.stdout.count("mark it with @pytest.mark.slow") >= len(WAYS) + 1


def test_what_starts_no_process_is_not_noted():
    compile("1 + 1", "code", "eval")
    assert processes.started == []
