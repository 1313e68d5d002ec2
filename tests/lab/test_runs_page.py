"""The list of runs, one run, comparisons and sweeps, in a real browser."""

import io
import json
import math
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect
from tests.lab.conftest import trained
from tests.runs.folders import make_run, metrics_of
from tests.small import Blobs
from tests.sweeps.written import make, make_rates, make_seeded

from gradbook import Trainer
from gradbook.display import chart, curves
from gradbook.display.notebook import NotebookDisplay
from gradbook.display.terminal import TerminalDisplay
from gradbook.models import MLP
from gradbook.record import Metric, Sink
from gradbook.runs.stored import load

pytestmark = pytest.mark.slow


def make_three():
    for number, rate in enumerate((0.1, 0.2, 0.3), start=1):
        make_run(f"mlp-{number}", metrics_of(rate=rate), {"lr": rate}, seed=number)


def names(page):
    """The runs and sweeps in the list, from top to bottom."""
    return page.locator("table.runs tbody td.name a").all_inner_texts()


def table_of(page, caption):
    """The table of a chart: for each column, its values by x."""
    figure = page.locator("figure.chart", has=page.locator("figcaption", has_text=caption)).first
    details = figure.locator("details")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    figure.locator("table tbody tr").first.wait_for()
    head = figure.locator("table thead th").all_inner_texts()
    rows = figure.locator("table tbody").evaluate(
        "body => [...body.rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    columns = zip(*rows, strict=True)
    xs = [float(x) for x in next(columns)]
    return {
        label: {x: float(y) for x, y in zip(xs, ys, strict=True) if y}
        for label, ys in zip(head[1:], columns, strict=True)
    }


def wait_until(page, expression):
    """Waits until JavaScript is true. Playwright's own way needs what the lab's policy forbids."""
    for _ in range(300):
        if page.evaluate(f"Boolean({expression})"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"It did not become true: {expression}")


# The list


def test_runs_are_listed_with_what_they_reached(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/runs")
    row = page.get_by_role("row", name=re.compile("mlp-3"))
    expect(row).to_contain_text("finished")
    expect(row).to_contain_text("3/3")
    expect(row).to_contain_text(f"{load('mlp-3').best['val_acc']['value']:.4f}")
    expect(row).to_contain_text("fashion-mnist")
    expect(page.get_by_text("3 runs")).to_be_visible()


def test_settings_that_differ_have_a_column(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/runs")
    expect(page.get_by_role("columnheader", name="lr")).to_be_visible()
    expect(page.get_by_role("columnheader", name="num_hiddens")).to_have_count(0)


def test_a_filter_lists_what_meets_it_and_stands_in_the_address(labs, pages):
    make_three()
    lab = labs(Path("runs"))
    page = pages(lab, "#/runs")
    page.get_by_role("searchbox").fill("lr>0.1 mlp-")
    expect(page.get_by_text("2 of 3 runs")).to_be_visible()
    assert sorted(names(page)) == ["mlp-2", "mlp-3"]
    again = pages(lab, page.url.partition("/#")[2].join(["#", ""]))
    expect(again.get_by_text("2 of 3 runs")).to_be_visible()


def test_a_filter_that_cannot_be_used_is_explained(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/runs")
    page.get_by_role("searchbox").fill("val_ac>0.5")
    expect(page.get_by_text("Did you mean 'val_acc'?")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    expect(page.get_by_text("Did you mean 'val_acc'?")).to_be_hidden()
    expect(page.get_by_text("3 runs")).to_be_visible()


def test_the_list_is_sorted_by_keyboard(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/runs")
    header = page.get_by_role("columnheader", name="Best")
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    assert names(page) == ["mlp-3", "mlp-2", "mlp-1"]
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert names(page) == ["mlp-1", "mlp-2", "mlp-3"]
    expect(page.locator("#announcement")).to_have_text("Sorted by Best, ascending")


def test_chosen_runs_are_compared(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/runs")
    page.get_by_role("checkbox", name="Choose mlp-1 to compare").check()
    page.get_by_role("checkbox", name="Choose mlp-3 to compare").check()
    page.get_by_role("link", name="Compare 2 runs").click()
    expect(page.get_by_role("heading", name="Compare runs")).to_be_visible()
    differing = page.locator("section", has=page.get_by_role("heading", name="What differs"))
    expect(differing.get_by_role("row", name="lr 0.1 0.3")).to_be_visible()


def test_the_members_of_a_sweep_open_by_keyboard(labs, pages):
    make_rates()
    page = pages(labs(Path("runs")), "#/runs")
    page.get_by_role("link", name="net-sweep-1").wait_for()
    assert names(page) == ["net-sweep-1"]
    page.get_by_role("button", name="Members of net-sweep-1").press("Enter")
    expect(page.get_by_role("link", name="member-5")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("member-5"))).to_contain_text("diverged")


def test_a_damaged_run_is_listed_with_the_reason(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/runs")
    page.get_by_role("link", name="mlp-2").wait_for()
    Path("runs/mlp-2/run.json").write_text("{")
    row = page.get_by_role("row", name=re.compile("mlp-2"))
    expect(row).to_contain_text("damaged")
    expect(row).to_contain_text("run.json")


def test_an_empty_folder_says_how_a_run_is_made(labs, pages):
    page = pages(labs(Path("runs")), "#/runs")
    expect(page.get_by_text("gradbook train mlp --max-epochs 5")).to_be_visible()
    make_run()
    expect(page.get_by_role("link", name="mlp-1")).to_be_visible()


def test_a_run_that_vanishes_leaves_the_list(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/runs")
    page.get_by_role("link", name="mlp-2").wait_for()
    shutil.rmtree("runs/mlp-2")
    expect(page.get_by_role("link", name="mlp-2")).to_have_count(0)


def test_of_many_runs_some_are_drawn_and_the_others_when_they_are_wanted(labs, pages):
    folder = make_run("net-0")
    for number in range(1, 250):
        shutil.copytree(folder, f"runs/net-{number}")
    page = pages(labs(Path("runs")), "#/runs?sort=name&order=up")
    expect(page.get_by_text("250 runs")).to_be_visible()
    assert 100 <= page.locator("table.runs tbody tr").count() < 250
    for _ in range(3):
        page.keyboard.press("End")
        page.mouse.wheel(0, 10_000)
        page.wait_for_timeout(300)
    expect(page.get_by_role("link", name="net-249")).to_be_visible()


# One run


class Recorder(Sink):
    """Keeps what a display is told, and has the page looked at meanwhile."""

    def __init__(self, at_epoch):
        self.told, self.at_epoch, self.num_epochs = [], at_epoch, 0

    def write(self, metric):
        self.told.append(metric)

    def end_epoch(self, trainer):
        self.num_epochs += 1
        self.at_epoch(self.num_epochs)


def test_all_views_show_the_same_points(labs, pages, monkeypatch, blank_figures):
    """The page, metrics.jsonl, the run as Python has it, the notebook's figure, the terminal's."""
    lab = labs(Path("runs"))
    page = pages(lab, "#/runs")
    seen = []

    def look(epoch):
        if epoch == 2:
            page.get_by_role("link", name="mlp-1").click()
        if epoch in (4, 8):
            page.locator(f"figure.chart:has-text('Epochs: {epoch}.')").first.wait_for()
            table_of(page, "loss")
            last = "figure.chart table tbody tr:last-child td:first-child"
            expect(page.locator(last).first).to_have_text(str(epoch))
            seen.append(table_of(page, "loss"))

    recorder = Recorder(look)
    drawn = []
    render = chart.render
    monkeypatch.setattr(
        chart, "render", lambda curves, *a, **kw: drawn.append(curves) or render(curves, *a, **kw)
    )
    handle = SimpleNamespace(display=lambda *a, **kw: None, update=lambda *a, **kw: None)
    notebook = NotebookDisplay(lambda: handle)
    terminal = TerminalDisplay(io.StringIO())
    trainer = Trainer(12, run="runs", display="off", sinks=[recorder, notebook, terminal])
    trainer.fit(MLP(num_outputs=3, num_hiddens=4, lr=0.1), Blobs(content=0))
    expect(page.locator(".head .badge")).to_have_text("finished")
    page.locator("figure.chart:has-text('Epochs: 12.')").first.wait_for()
    for chart_of in ("loss", "accuracy"):
        table_of(page, chart_of)  # which opens it
    lasts = page.locator("figure.chart table tbody tr:last-child td:first-child")
    expect(lasts).to_have_text(["12", "12"])
    on_page = {**table_of(page, "loss"), **table_of(page, "accuracy")}

    run = load("mlp-1")
    lines = list(map(json.loads, Path("runs/mlp-1/metrics.jsonl").read_text().splitlines()))
    labels = ["train_loss", "val_loss", "val_acc"]
    for label in labels:
        points = on_page[label]
        assert len(points) >= 12
        assert points == {p.x: p.y for p in run.points[label]}
        of_file = [line for line in lines if line.get("label") == label]
        assert points == {line["x"]: line["y"] for line in of_file if line["kind"] == "point"}
        assert points == {m.x: m.y for m in recorder.told if m.label == label and m.kind == "point"}
        assert points == dict(notebook._picture._lines[label].get_xydata().tolist())
        [curve] = [curve for curve in drawn[-1] if curve.label == label]
        assert points == dict(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
        means = on_page[f"{label}, means of epochs"]
        assert means == {row["epoch"]: row[label] for row in run.history.rows}
        assert means == {line["x"]: line["y"] for line in of_file if line["kind"] == "epoch"}
    # What was seen on the way is the beginning of it.
    assert [len(table["train_loss, means of epochs"]) for table in seen] == [4, 8]
    for table in seen:
        assert table["train_loss"].items() <= on_page["train_loss"].items()


def test_curves_grow_while_another_process_trains(labs, pages, tmp_path):
    work = tmp_path / "elsewhere"
    work.mkdir()
    words = ["mlp", "--data", "moons", "--num-outputs", "2", "--num-hiddens", "4", "--lr", "0.1"]
    page = pages(labs(work / "runs"), "#/runs")
    with trained(*words, "--max-epochs", "100000", cwd=work):
        page.get_by_role("link", name="mlp-1").click(timeout=60_000)
        expect(page.locator(".head .badge")).to_have_text("running")
        count = "document.querySelector('figure.chart')?.chart.curves[0]?.num ?? 0"
        wait_until(page, f"{count} > 0")
        before = page.evaluate(count)
        wait_until(page, f"{count} > {before}")
    expect(page.locator(".head .badge")).to_have_text("killed")
    expect(page.locator(".commands")).to_contain_text("Again")


def make_diverged():
    told = "train_loss became NaN or infinite at step 6 (epoch 1). To try: lr=0.1."
    metrics = [Metric("train_loss", x, y) for x, y in ((0.5, 2.0), (1, math.nan), (2, math.inf))]
    metrics += [Metric("train_loss", 1, math.nan, "epoch")]
    make_run(metrics=metrics, status="diverged", diverged="train_loss", findings=[told])


def test_a_run_that_diverged_says_why(labs, pages):
    make_diverged()
    page = pages(labs(Path("runs")), "#/run/mlp-1")
    expect(page.get_by_role("heading", name="Why it diverged")).to_be_visible()
    expect(page.get_by_text("To try: lr=0.1.")).to_be_visible()


def test_values_that_are_no_numbers_stand_in_the_table_as_texts(labs, pages):
    make_diverged()
    page = pages(labs(Path("runs")), "#/run/mlp-1")
    page.get_by_text("Data as a table").click()
    cells = page.locator("figure.chart table tbody td")
    expect(cells).to_have_text(["0.5", "2", "", "1", "NaN", "NaN", "2", "Infinity", ""])


def test_a_run_says_what_it_is_made_of(labs, pages):
    make_run(status="interrupted")
    page = pages(labs(Path("runs")), "#/run/mlp-1")
    expect(page.get_by_text("gradbook train mlp --lr 0.1 --seed 1")).to_be_visible()
    expect(page.get_by_text("gradbook resume", exact=False)).to_be_visible()
    expect(page.locator(".settings")).to_contain_text("num_hiddens")
    expect(page.locator(".files")).to_contain_text("metrics.jsonl")
    expect(page.get_by_role("link", name="Look at the model")).to_have_attribute(
        "href", "#/look/mlp-1"
    )


def test_damaged_values_are_explained(labs, pages):
    folder = make_run()
    lines = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(lines.replace(b"val_acc", b"val_bcc"))
    page = pages(labs(Path("runs")), "#/run/mlp-1")
    expect(page.locator(".curves .problem")).to_contain_text("metrics.jsonl")
    expect(page.locator(".settings")).to_contain_text("num_hiddens")


@pytest.mark.parametrize("name", [b"net-\xff", "신경망 #1?".encode(), b"100%"])
def test_a_folder_may_have_any_name(labs, pages, name):
    make_run(os.fsdecode(name))
    page = pages(labs(Path("runs")), "#/runs")
    page.locator("td.name a").click()
    expect(page.locator(".settings")).to_contain_text("num_hiddens")
    page.locator("figure.chart canvas").first.wait_for()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_run_that_is_gone_is_told(labs, pages):
    page = pages(labs(Path("runs")), "#/run/mlp-7")
    expect(page.get_by_role("alert")).to_contain_text("There is no run")


# Charts


def test_arrow_keys_read_the_values_of_a_curve(labs, pages):
    make_run()
    page = pages(labs(Path("runs")), "#/run/mlp-1")
    plot = page.get_by_role("application", name="accuracy")
    plot.focus()
    page.keyboard.press("Home")
    accuracies = load("mlp-1").history["val_acc"]
    told = page.locator("#announcement")
    expect(told).to_contain_text(f"epoch 1, val_acc {accuracies[0] + 0.01:.4f}")
    page.keyboard.press("ArrowRight")
    expect(told).to_contain_text(f"epoch 2, val_acc {accuracies[1] + 0.01:.4f}")


def test_a_button_of_the_legend_hides_its_curve(labs, pages):
    make_run()
    page = pages(labs(Path("runs")), "#/run/mlp-1")
    button = page.get_by_role("button", name=re.compile("^val_loss, means"))
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    shown = "document.querySelector('figure.chart').chart._plot.series.map(line => line.show)"
    wait_until(page, f"{shown}.includes(false)")


def make_long():
    points = [Metric("train_loss", i / 100, 2 + math.sin(i), "point") for i in range(20_000)]
    make_run("long-1", points)
    return points


def test_a_zoom_shows_all_points_of_a_part(labs, pages):
    points = make_long()
    page = pages(labs(Path("runs")), "#/run/long-1")
    page.get_by_text("Data as a table").click()
    expect(page.get_by_text("Not all points are shown.")).to_be_visible()
    page.evaluate("document.querySelector('figure.chart').chart.zoomTo(50, 50.5)")
    expect(page.get_by_text("Not all points are shown.")).to_be_hidden()
    within = {p.x: p.y for p in points if 50 <= p.x <= 50.5}
    assert table_of(page, "loss")["train_loss"] == within
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_text("Not all points are shown.")).to_be_visible()


def test_a_curve_is_zoomed_by_dragging(labs, pages):
    make_long()
    page = pages(labs(Path("runs")), "#/run/long-1")
    box = page.locator(".plot .u-over").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=5)
    page.mouse.up()
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    scale = "document.querySelector('figure.chart').chart._plot.scales.x"
    wait_until(page, f"Math.abs({scale}.min - 50) < 2 && Math.abs({scale}.max - 100) < 2")


def test_a_thinned_curve_is_smoothed_by_the_server(labs, pages):
    points = make_long()
    page = pages(labs(Path("runs")), "#/run/long-1?smoothing=0.9")
    wait_until(
        page,
        "document.querySelector('figure.chart')?.chart._pieces.get('point train_loss')?.smooth",
    )
    pieces = "document.querySelector('figure.chart').chart._pieces"
    last = page.evaluate(f"{pieces}.get('point train_loss').smooth.y.at(-1)")
    expected = 0.0
    for point in points:
        expected = 0.9 * expected + 0.1 * point.y
    assert last == pytest.approx(expected)


def test_a_curve_that_was_hidden_is_smoothed_by_the_server_when_it_is_shown(labs, pages):
    make_long()
    page = pages(labs(Path("runs")), "#/run/long-1")
    button = page.get_by_role("button", name=re.compile("^train_loss"))
    button.click()
    slider = page.get_by_label("Smoothing")
    slider.fill("0.9")
    button.click()
    wait_until(
        page,
        "document.querySelector('figure.chart').chart._pieces.get('point train_loss')?.smooth",
    )


def test_a_part_with_very_many_points_says_that_not_all_are_shown(labs, pages):
    make_long()
    page = pages(labs(Path("runs")), "#/run/long-1")
    page.get_by_text("Data as a table").click()
    page.evaluate("document.querySelector('figure.chart').chart.zoomTo(50, 50.5)")
    expect(page.get_by_text("Not all points are shown.")).to_be_hidden()
    page.evaluate("document.querySelector('figure.chart').chart.zoomTo(50, 150)")
    expect(page.get_by_text("Not all points are shown.")).to_be_visible()


def test_a_value_is_written_as_the_terminal_writes_it(labs, pages):
    page = pages(labs(Path("runs")))
    values = [0.0, 0.5, 0.001, 0.00099, 9.77e-5, 1.23e-10, 5e-20, 9999.0, 12345.0, 1.2e10, 1.23e10]
    values += [-1.23e10, 1e10, 1e100, 4.56e30, 7.0e200]
    told = page.evaluate(
        "async (values) => values.map((await import('/page/numbers.js')).short)", values
    )
    for value, text in zip(values, told, strict=True):
        expected = curves.short(value)
        assert float(text) == float(expected), (value, text)
        assert len(text) <= len(expected), (value, text)


# Several


def test_the_state_of_a_comparison_stands_in_the_address(labs, pages):
    make_three()
    lab = labs(Path("runs"))
    page = pages(lab, "#/compare?runs=mlp-1,mlp-2")
    page.get_by_label("Vertical axis").select_option("log")
    page.get_by_label("Smoothing").fill("0.5")
    wait_until(page, "location.hash.includes('smoothing=0.5')")
    again = pages(lab, "#" + page.url.partition("#")[2])
    again.locator("figure.chart canvas").first.wait_for()
    state = again.evaluate(
        "(({yscale, smoothing, isYLog}) => [yscale, smoothing, isYLog])"
        "(document.querySelector('figure.chart').chart)"
    )
    assert state == ["log", 0.5, True]


def test_compared_runs_are_overlaid_and_one_can_be_left_out(labs, pages):
    make_three()
    page = pages(labs(Path("runs")), "#/compare?runs=mlp-1,mlp-2,mlp-3")
    page.get_by_role("button", name=re.compile("^mlp-2 val")).first.wait_for()
    drawn = table_of(page, "accuracy")
    for name in ("mlp-1", "mlp-2", "mlp-3"):
        history = load(name).history
        assert drawn[f"{name} val"] == {row["epoch"]: row["val_acc"] for row in history.rows}
    page.get_by_role("button", name="Leave out mlp-2").click()
    expect(page.get_by_role("button", name="Leave out mlp-2")).to_have_count(0)
    assert "mlp-2" not in page.url


def test_compared_losses_that_differ_much_are_drawn_on_a_logarithmic_axis(labs, pages):
    make_run("near", [Metric("val_loss", x, y, "epoch") for x, y in ((1, 0.5), (2, 0.25))])
    make_run("far", [Metric("val_loss", x, y, "epoch") for x, y in ((1, 1e4), (2, 1e13))])
    page = pages(labs(Path("runs")), "#/compare?runs=near,far")
    page.get_by_role("button", name=re.compile("^far val")).wait_for()
    wait_until(page, "document.querySelector('figure.chart').chart.isYLog")


@pytest.mark.parametrize(
    ("low", "high", "lines"),
    [
        pytest.param(1e12, 3e31, [1e12, 1e16, 1e20, 1e24, 1e28], id="nineteen powers"),
        pytest.param(0.02, 150, [0.1, 1, 10, 100], id="four powers"),
        pytest.param(0.3, 6, [0.5, 1, 2, 5], id="one power"),
        pytest.param(0.31, 0.64, [0.4, 0.5, 0.6], id="digits"),
        pytest.param(1.01, 1.09, [1.02, 1.04, 1.06, 1.08], id="less than a digit"),
    ],
)
def test_a_logarithmic_axis_has_a_few_lines_however_wide_it_is(labs, pages, low, high, lines):
    page = pages(labs(Path("runs")))
    made = page.evaluate(
        f"async () => (await import('/page/chart.js')).logTicks({low!r}, {high!r})"
    )
    assert made == pytest.approx(lines)


# A sweep


def test_a_point_of_a_sweep_leads_to_its_training(labs, pages):
    make_seeded()
    page = pages(labs(Path("runs")), "#/sweep/seeded-sweep-1")
    expect(page.locator(".finals a.point")).to_have_count(6)
    page.get_by_role("link", name=re.compile("^lr 0.2, seed 1: val_loss 0.4100")).click()
    expect(page.get_by_role("heading", name="member-5")).to_be_visible()


def test_a_point_of_a_sweep_is_followed_by_keyboard(labs, pages):
    make_rates()
    page = pages(labs(Path("runs")), "#/sweep/net-sweep-1")
    page.get_by_role("link", name=re.compile("^lr 10, seed 0: val_loss NaN, diverged")).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="member-5")).to_be_visible()


def test_a_sweep_over_two_settings_has_a_table_of_both(labs, pages):
    rows = [
        ({"lr": lr, "num_hiddens": n}, {"val_loss": [lr * n]}) for lr in (0.1, 1.0) for n in (2, 4)
    ]
    make(rows)
    page = pages(labs(Path("runs")), "#/sweep/net-sweep-1")
    cells = page.locator("table.heat tbody td")
    expect(cells).to_have_text(["0.2000", "2.0000", "0.4000", "4.0000"])
    cells.nth(2).get_by_role("link").click()
    expect(page.get_by_role("heading", name="member-2")).to_be_visible()


def test_a_sweep_goes_on_while_it_is_watched(labs, pages):
    folder = Path("elsewhere")
    sweep = [({"lr": lr}, {"val_loss": [lr]}) for lr in (0.1, 0.2)]
    make(sweep, folder=folder / "net-sweep-1")
    shutil.copytree(folder / "net-sweep-1", "runs/net-sweep-1")
    shutil.rmtree("runs/net-sweep-1/member-2")
    page = pages(labs(Path("runs")), "#/sweep/net-sweep-1")
    expect(page.locator(".finals a.point")).to_have_count(1)
    shutil.copytree(folder / "net-sweep-1/member-2", "runs/net-sweep-1/member-2")
    expect(page.locator(".finals a.point")).to_have_count(2)


# Whoever looks, and whatever is looked at

BAD = "<img src=x onerror=alert(1)>"


def test_markup_in_a_strangers_folder_is_text(labs, pages):
    """Names, labels, settings, messages: none of them is more than text anywhere."""
    metrics = [Metric(f"val_{BAD}", epoch, 1 / epoch, "epoch") for epoch in (1, 2)]
    metrics += [Metric(f"val_{BAD}", 1.0, 1.0)]
    make_run("a", metrics)
    model = {
        "name": BAD,
        "class": BAD,
        "hyperparameters": {BAD: BAD, "lr": 0.1, "activation": "<script>alert(2)</script>"},
        "num_parameters": 1,
    }
    told = {"error": BAD, "findings": [BAD], "command": ["train", BAD], "platform": BAD}
    make_run(BAD.replace("/", ""), metrics, model=model, status="failed", **told)
    Path("runs/damaged").mkdir()
    Path("runs/damaged/run.json").write_text(BAD)
    make([({"activation": BAD}, {f"val_{BAD}": [1.0]})])
    lab = labs(Path("runs"))
    page = pages(lab, "#/runs")
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    expect(page.get_by_role("link", name=BAD).first).to_be_visible()
    page.get_by_role("link", name=BAD).first.click()
    expect(page.get_by_role("heading", name=BAD)).to_be_visible()
    page.get_by_text("Data as a table").first.click()
    expect(page.locator(".problems")).to_contain_text(BAD)
    expect(page.locator(".settings")).to_contain_text("<script>alert(2)</script>")
    identifier = page.url.partition("#/run/")[2]
    for address in (f"#/compare?runs=a,{identifier}", "#/sweep/net-sweep-1"):
        page.goto(f"{lab.address}/{address}")
        expect(page.get_by_text(BAD).first).to_be_visible()
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0
    assert dialogs == []


@pytest.mark.parametrize("label", ["__proto__", "constructor", "toString"])
def test_a_curve_may_have_the_name_of_what_each_object_of_the_page_has(labs, pages, label):
    metrics = [Metric(label, epoch, 0.5, kind) for epoch in (1, 2) for kind in ("point", "epoch")]
    make_run("mlp-1", [*metrics_of(2), *metrics])
    make_run("mlp-2", metrics_of(2))
    lab = labs(Path("runs"))
    page = pages(lab, "#/run/mlp-1")
    assert table_of(page, label)[label] == {1.0: 0.5, 2.0: 0.5}
    page.goto(f"{lab.address}/#/compare?runs=mlp-1,mlp-2")
    expect(page.locator("main th", has_text=label).first).to_be_visible()


def test_theme_and_language_are_kept(labs, pages):
    make_run()
    page = pages(labs(Path("runs")), "#/run/mlp-1")
    page.locator("figure.chart canvas").first.wait_for()
    page.get_by_role("button", name="Dark").click()
    page.get_by_label("Language").select_option("ko")
    expect(page.locator(".curves h2")).to_have_text("곡선")
    page.reload()
    expect(page.locator(".curves h2")).to_have_text("곡선")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("document.documentElement.lang") == "ko"


@pytest.mark.parametrize(
    "address", ["#/runs", "#/run/mlp-1", "#/compare?runs=mlp-1,mlp-2", "#/sweep/net-sweep-1"]
)
def test_a_phone_need_not_scroll_sideways(labs, pages, address):
    make_three()
    make_rates()
    page = pages(labs(Path("runs")), address, viewport={"width": 390, "height": 844})
    page.locator("main table, main figure").first.wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
