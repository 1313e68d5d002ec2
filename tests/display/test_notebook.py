import os
import re
from base64 import b64decode
from types import SimpleNamespace

import nbclient
import nbformat
import pytest
from tests.patience import LONGEST

from gradbook.display.notebook import NotebookDisplay
from gradbook.errors import GradbookWarning
from gradbook.record import Metric


class Page:
    """A notebook's output: how often a figure was put there, and how often it was replaced."""

    def __init__(self):
        self.outputs = []
        self.num_updates = 0

    def new_handle(self):
        outputs, place = self.outputs, len(self.outputs)

        def display(bundle, raw):
            assert raw
            outputs.append(bundle)

        def update(bundle, raw):
            self.num_updates += 1
            outputs[place] = bundle

        return SimpleNamespace(display=display, update=update)


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def display(page, clock, board, trainer):
    display = NotebookDisplay(page.new_handle, clock)
    display.open(board, trainer)
    return display


@pytest.mark.slow
def test_one_figure_is_updated_in_place(display, page, clock, point):
    for x in range(5):
        clock.now += 1
        display.write(point(x, x))
    display.close("finished")
    assert len(page.outputs) == 1
    assert page.num_updates == 5


def test_there_is_no_figure_without_a_point(display, page):
    display.close("failed")
    assert page.outputs == []


@pytest.mark.slow
def test_it_draws_at_most_five_times_a_second(display, page, clock, point):
    for x in range(100):
        clock.now += 0.01
        display.write(point(x, x))
    assert page.num_updates <= 4


@pytest.mark.slow
def test_it_takes_at_most_a_twentieth_of_the_time(display, page, clock, point, monkeypatch):
    spent = 0.0

    def slow_svg(self):
        nonlocal spent
        spent += 0.5
        clock.now += 0.5
        return "<svg/>"

    monkeypatch.setattr("gradbook.display.picture.Picture.svg", slow_svg)
    for x in range(6000):
        clock.now += 0.01
        display.write(point(x, x))
    assert 0.03 < spent / clock.now <= 0.05


def test_the_end_is_always_drawn(display, page, point):
    display.write(point(0, 1))
    display.write(point(1, 0.125))
    display.close("interrupted")
    assert page.outputs[0]["text/plain"] == "train_loss 0.1250"


def test_it_is_an_svg_with_its_text_as_text(display, page, point):
    display.write(point(0, 1))
    svg = page.outputs[0]["image/svg+xml"]
    assert "<svg" in svg
    assert re.search(r"<text[^>]*>epoch</text>", svg)
    assert len(svg) < 20_000


def test_a_line_above_tells_epoch_time_and_speed(display, page, clock, point, trainer):
    clock.now, trainer.epoch, trainer.train_batch_idx, trainer.val_batch_idx = 65, 1, 20, 4
    display.write(point(2, 0.25))
    svg = page.outputs[0]["image/svg+xml"]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert "epoch 2/4, 1:05 &lt; 1:05, 0.308 steps/s" in texts
    assert "train_loss 0.2500" in texts


def test_the_last_picture_tells_how_it_ended_and_has_pixels(display, page, clock, point):
    display.write(point(0, 1))
    assert "image/png" not in page.outputs[0]
    clock.now = 7
    display.close("interrupted")
    assert "epoch 1/4, interrupted, 0:07" in page.outputs[0]["image/svg+xml"]
    assert b64decode(page.outputs[0]["image/png"]).startswith(b"\x89PNG")


def test_a_long_epoch_is_told_before_there_is_a_point(display, page, clock, trainer):
    clock.now = 1
    display.end_step(trainer)
    assert page.outputs == []
    clock.now, trainer.train_batch_idx = 3, 5
    display.end_step(trainer)
    assert "epoch 1/4, 0:03 &lt; 0:26, 1.67 steps/s" in page.outputs[0]["image/svg+xml"]
    clock.now = 4
    display.end_step(trainer)
    assert page.num_updates == 0


def test_outside_training_nothing_stands_above_the_curves(page, clock, board, point, shell):
    display = NotebookDisplay(page.new_handle, clock)
    display.open(board)
    display.write(point(0, 1))
    svg = page.outputs[0]["image/svg+xml"]
    assert "steps/s" not in svg
    assert ">train_loss</text>" in svg


def test_epoch_means_draw_nothing(display, page):
    display.write(Metric("train_loss", 1, 2, kind="epoch"))
    assert page.outputs == []


@pytest.mark.slow
def test_outside_training_each_cell_has_its_own_figure(page, clock, board, point, shell):
    display = NotebookDisplay(page.new_handle, clock)
    display.open(board)
    for x in range(4):
        display.write(point(x, x))
        if x % 2:
            shell.end_cell()
            assert not shell.events.callbacks
    assert [output["text/plain"] for output in page.outputs] == [
        "train_loss 1.0000",
        "train_loss 3.0000",
    ]


def test_pyplot_does_not_show_the_learners_figure_again(display, board, point):
    from matplotlib import pyplot as plt

    _, board.axes = plt.subplots()
    display.write(point(0, 1))
    assert plt.get_fignums() == []


def test_drawing_that_fails_is_said_once_and_training_goes_on(display, clock, point, monkeypatch):
    def fail(self):
        raise ZeroDivisionError("no room")

    monkeypatch.setattr("gradbook.display.picture.Picture.svg", fail)
    with pytest.warns(GradbookWarning, match=r"ZeroDivisionError: no room.*board\.data"):
        display.write(point(0, 1))
    clock.now += 10
    display.write(point(1, 1))
    display.close("finished")


CELLS = [
    """
import torch
from gradbook import DataModule, LinearRegressionScratch, ProgressBoard, Trainer
class Data(DataModule):
    batch_size = 10
    def get_dataloader(self, train):
        X = torch.randn(100, 2)
        return self.get_tensorloader((X, X.sum(1, keepdim=True)), train)
model, trainer = LinearRegressionScratch(2), Trainer(max_epochs=3)
""",
    "trainer.fit(model, Data())",
    "board = ProgressBoard('x')\nfor x in range(50): board.draw(x, x * x, 'square', every_n=2)",
    "board.draw(100, 0, 'square')",
    "from matplotlib import pyplot as plt\nfig, board.axes = plt.subplots()\nboard.clear()\n"
    "for x in range(9): board.draw(x, x, 'line')",
    """
from gradbook.display.animator import Animator
animator = Animator('epoch', legend=['a', 'b'])
for x in range(9): animator.add(x, (x, x * x))
""",
    "len(plt.get_fignums()), get_ipython().events.callbacks['post_run_cell'].count(board)",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the Jupyter packages
def test_a_saved_notebook_has_one_figure_for_each_cell_that_draws(monkeypatch):
    monkeypatch.delenv("GRADBOOK_DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    kernel = {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    notebook.metadata.update(kernel)
    seconds = dict.fromkeys(("timeout", "startup_timeout", "iopub_timeout"), LONGEST)
    nbclient.NotebookClient(notebook, **seconds).execute()
    outputs = [
        [set(output.get("data", {output["output_type"]: 0})) for output in cell.outputs]
        for cell in notebook.cells
    ]
    figure = [{"image/svg+xml", "image/png", "application/pdf", "text/plain"}]
    summary = {"text/html", "text/plain"}
    trained = [*figure, summary]
    assert outputs == [[], trained, figure, figure, figure, figure, [{"text/plain"}]]
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "(0, 0)"
    finals = notebook.cells[1].outputs[0]["data"]["text/plain"]
    assert re.fullmatch(r"train_loss [\d.e-]+, val_loss [\d.e-]+", finals)
    assert "train_loss" in notebook.cells[1].outputs[0]["data"]["image/svg+xml"]
    ending = notebook.cells[1].outputs[1]["data"]["text/html"]
    assert "LinearRegressionScratch on Data: finished, 3 of 3 epochs" in ending


INTERRUPTED = """
import os, signal
class Slow(LinearRegressionScratch):
    def training_step(self, batch):
        if self.trainer.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return super().training_step(batch)
trainer = Trainer(max_epochs=3, run="runs")
trainer.fit(Slow(2), Data())
print("after it")
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.filterwarnings("default")  # those of the Jupyter packages
def test_an_interrupt_ends_a_cell_with_what_is_kept_and_how_to_resume():
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in (CELLS[0], INTERRUPTED)]
    )
    seconds = dict.fromkeys(("timeout", "startup_timeout", "iopub_timeout"), LONGEST)
    nbclient.NotebookClient(notebook, allow_errors=True, **seconds).execute()
    outputs = [output for output in notebook.cells[1].outputs if output.get("name") != "stderr"]
    assert [output.output_type for output in outputs] == ["error"]  # nor was anything run after it
    assert outputs[0].ename == "KeyboardInterrupt"
    assert outputs[0].traceback == [
        "Training was interrupted. The model keeps what it has learned, and runs/slow-1 keeps the "
        "run.",
        "To resume it:",
        "trainer.fit(model, data, resume='runs/slow-1')",
    ]
