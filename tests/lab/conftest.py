"""A lab of a test's own: its server in a process, and Debian's Chromium to look at its page."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

#: Runs the command as another user, who may not be able to read this Python.
_AS_USER = """
import os, sys
import anyio._backends._asyncio, uvicorn.lifespan.on, uvicorn.loops.asyncio
import gradbook.cli, gradbook.cli.lab, gradbook.lab.server
os.setgid({user})
os.setuid({user})
sys.exit(gradbook.cli.main())
"""


class RunningLab:
    """A `gradbook lab` in a process of its own.

    Attributes:
        address: Where it answers, without the token.
        opening: The address that it prints, with the token.
    """

    def __init__(self, root, state, *words, port=0, user=None):
        # The state folder has the secret: one of a test's own, which it may share between starts.
        environment = {**os.environ, "XDG_STATE_HOME": str(state), "OMP_NUM_THREADS": "1"}
        program = ["-m", "gradbook"] if user is None else ["-c", _AS_USER.format(user=user)]
        command = [sys.executable, *program, "lab", *words, "--runs", str(root)]
        command += ["--no-browser", "--port", str(port)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for line in self.process.stdout:
            if line.strip().startswith("http://"):
                self.opening = line.strip()
                break
        else:
            raise AssertionError(self.process.communicate()[1])
        self.address = self.opening.partition("/?")[0]
        self.port = int(self.address.rpartition(":")[2])
        self.token = self.opening.partition("token=")[2]

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        """Ends it as Ctrl-C does; returns its exit code and what it has said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            out, err = self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self.process.returncode, out, err


@pytest.fixture
def labs(tmp_path):
    """Starts labs: `labs(root, *words, port=0)`, perhaps as another `user`.

    They are ended with the test.
    """
    started = []

    def start(root, *words, port=0, user=None):
        lab = RunningLab(root, tmp_path / "state", *words, port=port, user=user)
        started.append(lab)
        return lab

    yield start
    for lab in started:
        lab.kill()


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window, for the tests of one file.

    While it is there, its thread has an event loop that runs, which other tests must not find.
    """
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("There is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def pages(browser):
    """Opens pages: `pages(lab, hash="#/runs", **context)`; an error on one fails the test."""
    problems, contexts = [], []

    def open_page(lab, hash="#/runs", **options):
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = browser.new_context(locale="en-US", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(lab.opening)
        page.goto(f"{lab.address}/{hash}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@contextmanager
def trained(*words, cwd):
    """A `gradbook train` that runs meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gradbook", "train", *words, "--quiet"],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
