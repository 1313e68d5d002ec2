"""The playground in a real browser, with the processes that train."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gradbook.runs.stored import StoredRun

pytestmark = pytest.mark.slow

#: One step in an epoch, and few of them.
SMALL = "num_train=32&num_val=16&batch_size=32&num_hiddens=4&max_epochs=400"
MOONS = f"#/playground?model=mlp&data=moons&{SMALL}&seed=3"

#: PyTorch is loaded by a process of its own, on a machine that may be busy.
PATIENCE = 90_000


class Playground:
    """The page, as a learner uses it."""

    def __init__(self, page):
        self.page = page
        self.state = page.locator(".bar .state")
        self.sight = page.locator(".sight")
        self.problem = page.get_by_role("alert")

    def wait(self, text):
        self.state.filter(has_text=re.compile(text)).wait_for(timeout=PATIENCE)
        return self

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()
        return self

    def steps_to(self, step):
        for number in range(self.step + 1, step + 1):
            self.press("Step").wait(f"step {number},")
        return self

    @property
    def step(self):
        return int(re.search(r"step (\d+)", self.state.inner_text())[1])

    @property
    def training(self):
        return int(self.sight.get_attribute("data-training"))

    def pixels(self):
        return self.page.evaluate("() => document.querySelector('canvas.plane').toDataURL()")

    def curves(self):
        """The values that the page has, every digit of them."""
        return self.page.evaluate(
            "async () => (await import('/page/playground-session.js')).session.curves"
        )


@pytest.fixture
def opened(labs, pages, tmp_path):
    """Opens a playground: `opened(hash)`; its lab is `opened.lab`."""
    root = tmp_path / "runs"

    def open_one(hash=MOONS, *words):
        if open_one.lab is None:
            open_one.lab = labs(root, *words)
        return Playground(pages(open_one.lab, hash)).wait("step 0")

    open_one.lab, open_one.root = None, root
    return open_one


def workers_of(lab):
    """The processes of a lab that train."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if f"\nPPid:\t{lab.process.pid}\n" in text:
            found.append(int(status.parent.name))
    return found


def test_a_slider_that_is_moved_changes_the_picture_and_the_address(opened):
    play = opened()
    before, training = play.pixels(), play.training
    play.page.locator("#setting-noise-slider").fill("900")
    play.page.locator(f".sight[data-training='{training + 1}'][data-step='0']").wait_for()
    assert play.pixels() != before
    assert "noise=0.9" in play.page.url


def test_it_runs_pauses_and_takes_steps(opened):
    play = opened().press("Start").wait(r"Training · step [1-9]").press("Pause").wait("Paused")
    step = play.step
    play.press("Step").wait(f"Paused · step {step + 1},")


def test_the_keyboard_starts_pauses_steps_and_resets(opened):
    play = opened()
    play.page.keyboard.press("s")
    play.wait("Paused · step 1,")
    play.page.keyboard.press(" ")
    play.wait(r"Training · step [1-9]\d")
    play.page.keyboard.press(" ")
    play.wait("Paused")
    play.page.keyboard.press("r")
    play.wait("Paused · step 0,")


def test_a_link_gives_the_same_training_with_its_changes_of_the_rate(opened):
    play = opened().steps_to(2)
    field = play.page.get_by_role("textbox", name="Learning rate")
    field.fill("0.5")
    field.press("Enter")
    play.wait("learning rate 0.5")
    play.steps_to(4)
    assert "lr_at=2:0.5" in play.page.url
    other = opened("#" + play.page.url.partition("#")[2]).steps_to(4).wait("learning rate 0.5")
    assert other.curves() == play.curves()
    assert play.curves()["epoch"]["lr"]["y"] == [0.5]  # the fourth epoch's validation is to come


def test_two_pages_train_at_once_and_apart(opened):
    first, second = (
        opened(),
        opened(MOONS.replace("mlp", "softmax-regression").replace("num_hiddens=4&", "")),
    )
    first.press("Start").wait(r"step [1-9]")
    assert second.step == 0
    second.press("Start").wait(r"step [1-9]")
    first.wait(r"step \d\d\d")
    second.wait(r"step \d\d\d")
    assert len(workers_of(opened.lab)) == 2


def test_a_kept_training_is_a_run_that_is_listed_shown_and_resumed(opened, tmp_path):
    play = opened().steps_to(3).press("Keep as a run")
    link = play.page.get_by_role("link", name="mlp-1")
    link.wait_for()
    play.press("Reset").wait("step 0")
    assert link.count() == 0
    play.page.get_by_role("link", name="Runs", exact=True).click()
    play.page.get_by_role("link", name="mlp-1").wait_for()
    folder = opened.root / "mlp-1"
    assert StoredRun(folder).status == "interrupted"
    command = [sys.executable, "-m", "gradbook"]
    shown = subprocess.run([*command, "show", folder], capture_output=True, text=True, check=True)
    assert "mlp-1" in shown.stdout
    subprocess.run([*command, "resume", folder, "--quiet"], check=True, cwd=tmp_path)
    assert StoredRun(folder).facts["steps"] == 400


def test_once_the_rate_was_changed_the_page_says_that_the_command_has_the_first(opened):
    play = opened().steps_to(1)
    note = play.page.get_by_text("The command keeps the first one.")
    assert not note.is_visible()
    play.page.locator("#setting-lr").fill("0.7")
    play.page.locator("#setting-lr").press("Enter")
    play.wait("learning rate 0.7")
    note.wait_for()
    play.press("Reset").wait("step 0")
    note.wait_for(state="hidden")


def test_a_process_that_was_killed_is_told_and_reset_begins_again(opened):
    play = opened().press("Start").wait(r"step [1-9]")
    os.kill(workers_of(opened.lab)[0], signal.SIGKILL)
    play.problem.filter(has_text="was killed").wait_for()
    play.wait("The process has ended").press("Reset").wait("step 0")
    play.press("Step").wait("step 1,")


def test_a_rate_that_is_too_high_is_explained(opened):
    play = opened(MOONS + "&lr=100000").press("Start").wait("Diverged")
    play.problem.filter(has_text="the learning rate is too high").wait_for(timeout=PATIENCE)


ENDLESS = """
import torch
from torch import nn
from gradbook import Classifier

class Net(Classifier):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(2, 2)
        self.num_steps = 0

    def training_step(self, batch):
        print("a step")
        self.num_steps += 1
        while self.num_steps > 2:
            pass
        return super().training_step(batch)

class Asking(Net):
    def training_step(self, batch):
        return float(input("which loss? "))
"""


def test_a_step_without_an_end_does_not_hold_the_page_or_the_server(opened, tmp_path):
    file = tmp_path / "endless.py"
    file.write_text(ENDLESS)
    play = opened("#/playground", f"{file}:Net")
    before = workers_of(opened.lab)
    play.page.locator("#speed").select_option("slow")  # so that each step is seen
    play.press("Start").wait("Training · step 2,")
    play.page.wait_for_timeout(2000)  # now it is within the third
    play.page.get_by_label("Model").first.select_option("mlp")
    play.wait(r"Paused · step 0, .* 114 parameters").press("Step").wait("step 1,")
    assert workers_of(opened.lab) != before
    code, _, err = opened.lab.stop()
    assert code == 0
    assert "a step" in err  # what a learner's code prints goes to the terminal of the lab


def test_a_step_without_an_end_does_not_outlive_a_server_that_was_killed(opened, tmp_path):
    file = tmp_path / "endless.py"
    file.write_text(ENDLESS)
    play = opened("#/playground", f"{file}:Net")
    [worker] = workers_of(opened.lab)
    play.page.locator("#speed").select_option("slow")
    play.press("Start").wait("Training · step 2,")
    play.page.wait_for_timeout(2000)
    opened.lab.kill()
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        play.page.wait_for_timeout(100)
    else:
        os.kill(worker, signal.SIGKILL)
        raise AssertionError("it has outlived the server")


def test_code_that_asks_for_input_is_told_that_there_is_none(opened, tmp_path):
    file = tmp_path / "asking.py"
    file.write_text(ENDLESS)
    play = opened("#/playground", f"{file}:Asking").press("Start").wait("Failed")
    play.problem.filter(has_text="EOFError").wait_for()


def test_the_server_ends_its_processes(opened):
    play = opened().press("Start").wait(r"step [1-9]")
    workers = workers_of(opened.lab)
    assert workers
    opened.lab.stop()
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)
    play.page.locator("#connection", has_text="The server does not answer").wait_for()


def test_a_phone_shows_it_without_scrolling_sideways(labs, pages, tmp_path):
    lab = labs(tmp_path / "runs")
    play = Playground(pages(lab, MOONS, viewport={"width": 390, "height": 844})).wait("step 0")
    width = play.page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 390


def test_a_table_stands_beside_the_curves(opened):
    play = opened().steps_to(2)
    chart = play.page.get_by_role("figure").filter(has_text="loss")
    chart.get_by_text("Data as a table").click()
    chart.get_by_role("cell", name="1", exact=True).wait_for()
    chart.get_by_role("columnheader", name="train_loss, means of epochs").wait_for()


def test_a_playground_that_is_left_and_entered_again_at_once_trains_on(opened):
    play = opened()
    play.page.evaluate(
        """async () => {
          for (const hash of ["#/runs", "#/playground", "#/runs", "#/playground?model=mlp"]) {
            location.hash = hash;
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
        }"""
    )
    play.wait("step 0").press("Start").wait(r"Training · step [1-9]")
    assert play.page.get_by_role("heading", level=1).count() == 1


def test_long_curves_are_drawn_with_their_peaks_gaps_and_ends(opened):
    page = opened().page
    y = [0.5] * 5000
    y[1234], y[2345], y[3456], y[4999] = 9.0, -9.0, None, 0.7
    kept = page.evaluate(
        "async y => (await import('/page/playground-curves.js')).thinned({ x: [...y.keys()], y })",
        y,
    )
    x, drawn = kept["x"], kept["y"]
    assert {0, 1234, 2345, 3456, 4999} <= set(x)
    assert x == sorted(set(x))
    assert drawn == [y[place] for place in x]
    assert len(x) < 1300
