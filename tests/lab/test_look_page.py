"""The views of look in a real browser."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect
from tests.lab.look_runs import class_of, report_of, train_pictures, train_plane, write_file

import gradbook
from gradbook.experiments.activations import FUNCTIONS, activation
from gradbook.experiments.graphs import graph
from gradbook.experiments.hessian import sharpness
from gradbook.runs.film import Film

pytestmark = pytest.mark.slow

#: What loads PyTorch in a process of its own on a busy machine may take so many milliseconds.
PATIENT = 90_000


@pytest.fixture(autouse=True)
def patience():
    expect.set_options(timeout=PATIENT)
    yield
    expect.set_options(timeout=5000)


@pytest.fixture
def path(tmp_path):
    return write_file(tmp_path)


@pytest.fixture
def folder(tmp_path, path, blank_figures):
    return train_pictures(tmp_path / "runs", path, watch="weights")


def opened(labs, pages, folder, *words, part="mistakes", **options):
    page = pages(labs(folder.parent, *words), f"#/look/{folder.name}?part={part}", **options)
    page.set_default_timeout(PATIENT)
    return page


def choose(page, part):
    page.get_by_role("tab", name=part).click()


def children_of(process):
    """The processes that a process has started, which still run."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def test_all_five_parts_of_a_classifier(labs, pages, folder, path):
    page = opened(labs, pages, folder, f"{path}:Pictures")
    report = report_of(folder, path)

    # Mistakes: the matrix is the library's, and a cell leads to its examples.
    matrix = page.locator(".look-confusion tbody")
    matrix.wait_for()
    rows = [
        [int(cell) for cell in row.get_by_role("button").all_inner_texts()]
        for row in matrix.get_by_role("row").all()
    ]
    assert rows == report.confusion.tolist()
    wrong = report.confusion.clone().fill_diagonal_(-1)
    true, predicted = divmod(int(wrong.argmax()), 3)
    names = ["<b>top</b>", "middle", "bottom"]
    page.locator(".look-confusion tbody button").nth(3 * true + predicted).click()
    heading = f"{names[true]}, taken for {names[predicted]}"
    page.get_by_role("heading", name=heading).wait_for()
    assert page.locator(".look-gallery canvas").count() == int(wrong.max())
    assert page.locator("b").count() == 0  # a class's name is text
    page.get_by_role("button", name="Back to the surest mistakes").click()
    expect(page.locator(".look-gallery canvas")).to_have_count(len(report.mistakes))
    error = f"{report.calibration().error:.3g}"
    expect(page.get_by_text("Expected calibration error")).to_contain_text(error)

    # Weights: a slider over the epochs, also by its buttons.
    choose(page, "Weights")
    slider = page.get_by_role("slider", name="Epoch")
    expect(slider).to_have_attribute("aria-valuetext", "epoch 3")
    page.get_by_role("button", name="Previous").click()
    expect(slider).to_have_attribute("aria-valuetext", "epoch 2")
    slider.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "epoch 1")
    page.get_by_role("button", name="Play").click()
    expect(slider).to_have_attribute("aria-valuetext", "epoch 3")
    expect(page.get_by_role("button", name="Play")).to_be_visible()  # it has come to its end
    largest = re.search(
        r"[\d.]+$", page.locator("canvas.look-weight").first.get_attribute("aria-label")
    )
    film = Film.read(folder)
    assert float(largest[0]) == pytest.approx(max(map(abs, film.values(-1)[:36])), rel=0.01)

    # Activations
    choose(page, "Activations")
    page.get_by_text("3 layers of sigmoid with the weight 1").wait_for()

    # The graph, by keyboard, and its table
    choose(page, "Graph")
    page.get_by_role("heading", name="cross_entropy").wait_for()
    page.locator(".look-node[tabindex='0']").press("ArrowUp")
    expect(page.locator(".look-node-details h2")).to_have_text(re.compile("linear_2|y"))
    restored = gradbook.runs.restore(folder, data=class_of(path, "Pictures"))
    found = graph(restored.model, restored.data, values=True, gradients=True)
    weight = next(v for v in found.variables if v.name == "net.1.weight")
    row = page.get_by_role("row", name=re.compile(r"^net\.1\.weight"))
    assert row.get_by_role("cell").last.inner_text() == f"{weight.gradient.norm:.3g}"

    # The sharpest direction
    choose(page, "Sharpest direction")
    facts = page.locator(".look-facts")
    facts.wait_for()
    measured = sharpness(restored.model, restored.data)
    assert f"{measured.eigenvalue:.4g}" in facts.inner_text()
    assert f"{measured.critical_lr:.4g}" in facts.inner_text()
    page.get_by_role("slider", name="Learning rate").fill("1.5")
    page.get_by_text("beyond the critical rate, steps grow").wait_for()
    page.get_by_role("slider", name="Learning rate").fill("1")
    page.get_by_text("steps swing and come no nearer").wait_for()
    page.get_by_role("slider", name="Learning rate").fill("0.5")
    page.get_by_text(re.compile("on the same side|lowest point at once")).wait_for()


def test_a_regression(labs, pages, tmp_path, blank_figures):
    folder = train_plane(tmp_path / "runs")
    page = opened(labs, pages, folder)
    report = report_of(folder)

    expect(page.locator(".look-summary")).to_contain_text(f"{report.mse:.4g}")
    table = page.get_by_role("table", name="Parameters against the true ones")
    assert table.get_by_role("row").count() == 4
    page.get_by_text("The largest residuals").click()
    assert page.get_by_role("table", name="The largest residuals").get_by_role("row").count() == 33
    choose(page, "Weights")
    page.get_by_text("the inputs are no images").wait_for()
    page.get_by_text("train with --watch weights").wait_for()


def test_a_class_that_the_lab_was_not_given_is_told_with_the_command(labs, pages, folder):
    page = opened(labs, pages, folder)
    expect(page.get_by_role("alert")).to_contain_text("gradbook lab my_file.py:Pictures")
    choose(page, "Weights")  # which need no class
    page.locator("canvas.look-weight").first.wait_for()


def test_a_process_that_is_killed_is_told_and_replaced(labs, pages, folder, path):
    lab = labs(folder.parent, f"{path}:Pictures")
    page = pages(lab, f"#/look/{folder.name}")
    page.set_default_timeout(PATIENT)
    page.locator(".look-confusion").wait_for()
    (worker,) = children_of(lab.process.pid)
    os.kill(worker, signal.SIGSTOP)  # so that it cannot be faster than this test
    choose(page, "Graph")
    page.locator(".look-waiting").wait_for()
    time.sleep(0.5)
    os.kill(worker, signal.SIGKILL)
    expect(page.get_by_role("alert")).to_contain_text("has died", timeout=PATIENT)
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="cross_entropy").wait_for()


def test_a_look_can_be_canceled(labs, pages, folder, path):
    lab = labs(folder.parent, f"{path}:Pictures")
    page = pages(lab, f"#/look/{folder.name}")
    page.set_default_timeout(PATIENT)
    page.locator(".look-confusion").wait_for()
    (worker,) = children_of(lab.process.pid)
    os.kill(worker, signal.SIGSTOP)
    choose(page, "Sharpest direction")
    page.get_by_text("may take a minute").wait_for()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_have_text("Canceled.")
    for _ in range(200):
        if worker not in children_of(lab.process.pid):
            break
        time.sleep(0.1)
    assert worker not in children_of(lab.process.pid)
    page.get_by_role("button", name="Try again").click()
    page.locator(".look-facts").wait_for()


def test_what_a_stranger_s_folder_says_is_shown_as_text(labs, pages, folder):
    hostile = "<img src=x onerror=\"document.title='taken'\">"
    film = json.loads((folder / "weights.json").read_text())
    film["layer"], film["names"] = hostile, [hostile] * film["shape"][0]
    (folder / "weights.json").write_text(json.dumps(film))

    page = opened(labs, pages, folder, part="weights")
    page.locator("canvas.look-weight").first.wait_for()
    expect(page.locator(".look-weights")).to_contain_text(hostile)
    assert page.locator("#view img").count() == 0
    expect(page).to_have_title("Look at mlp-1 – gradbook lab")


def test_a_run_that_is_not_there_is_told(labs, pages, folder):
    page = pages(labs(folder.parent), "#/look/nothing-1")
    expect(page.get_by_role("alert")).to_contain_text("There is no run 'nothing-1'")


def test_a_run_without_a_checkpoint_says_what_can_be_looked_at(labs, pages, folder):
    for checkpoint in (folder / "checkpoints").iterdir():
        checkpoint.unlink()
    page = opened(labs, pages, folder)
    page.get_by_text("The run has no checkpoint").wait_for()
    expect(page.get_by_role("alert")).to_contain_text("has kept no such checkpoint")
    choose(page, "Weights")
    page.locator("canvas.look-weight").first.wait_for()


@pytest.fixture
def functions(labs, pages, tmp_path):
    """Computes chains of activation functions in the browser."""
    page = pages(labs(tmp_path / "runs"), "#/look")

    def compute(name, x, depth, weight=1.0):
        return page.evaluate(
            """async ([name, xs, depth, weight]) => {
                const { chain } = await import("/page/look-functions.js");
                return xs.map((x) => chain(name, x, depth, weight));
            }""",
            [name, x, depth, weight],
        )

    return compute


def test_the_page_computes_activations_as_pytorch_does(functions):
    for name in FUNCTIONS:
        found = activation(name, compose=4)
        places = slice(0, None, 25)  # among them the kinks at -1, 0 and 1
        computed = torch.tensor(functions(name, found.x[places].tolist(), 4), dtype=torch.float64)
        for depth in range(4):
            for which, expected in ((0, found.values), (1, found.derivatives)):
                torch.testing.assert_close(
                    computed[:, depth, which],
                    expected[depth][places],
                    rtol=1e-9,
                    atol=1e-12,
                    msg=lambda text, name=name, depth=depth, which=which: (
                        f"{name}, depth {depth + 1}, {('value', 'derivative')[which]}: {text}"
                    ),
                )


def test_the_page_multiplies_with_the_weight_of_each_layer(functions):
    for name, weight in (("tanh", 2.5), ("gelu", 0.3)):
        found = activation(
            lambda x, name=name, weight=weight: FUNCTIONS[name](weight * x), compose=3
        )
        computed = torch.tensor(functions(name, found.x[::50].tolist(), 3, weight))
        torch.testing.assert_close(
            computed[:, 2, 0].double(), found.values[2][::50], rtol=1e-5, atol=1e-6
        )
        expected = found.derivatives[2][::50]
        torch.testing.assert_close(computed[:, 2, 1].double(), expected, rtol=1e-5, atol=1e-6)


def test_activations_need_no_run_and_a_link_leads_to_the_same(labs, pages, tmp_path):
    lab = labs(tmp_path / "runs")
    page = pages(lab, "#/look?f=relu&depth=4&weight=0.5")
    page.get_by_text(
        "4 layers of relu with the weight 0.5 multiply a gradient by at most 0.0625."
    ).wait_for()
    page.get_by_role("combobox", name="Function f").select_option("tanh")
    page.get_by_role("slider", name="Layers").fill("10")
    page.get_by_role("slider", name="Weight").fill("3")
    said = page.locator(".look-summary").inner_text()
    assert "it explodes" in said
    page.wait_for_url("**depth=10**")
    address = page.evaluate("location.hash")

    assert pages(lab, address).locator(".look-summary").inner_text() == said


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone(labs, pages, folder, path, theme):
    page = opened(
        *(labs, pages, folder, f"{path}:Pictures"),
        viewport={"width": 390, "height": 844},
        color_scheme=theme,
    )
    page.locator(".look-confusion").wait_for()
    for part in ("Mistakes", "Weights", "Activations", "Graph", "Sharpest direction"):
        choose(page, part)
        expect(page.locator(".look-waiting")).to_have_count(0, timeout=PATIENT)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, part
