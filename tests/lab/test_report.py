"""Reports in a real browser: the file as it is handed in, and the button that makes one."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from tests.reports.reading import assert_harmless
from tests.runs.folders import make_run, metrics_of
from tests.sweeps.written import make_rates

import gradbook
from gradbook import SyntheticRegressionData, Trainer
from gradbook.models import LinearRegression

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def opened(browser):
    """Opens a file; nothing but itself may be asked for, and nothing may go wrong."""
    problems, contexts = [], []

    def open_file(path, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        address = Path(path).absolute().as_uri()
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((address, "data:")) else problems.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def everything():
    """A report with all that one may have: runs, a sweep, and strangers' texts."""
    make_run("mlp-1", metrics_of(rate=0.1), findings=[HOSTILE])
    make_run("mlp-2", metrics_of(rate=0.3), {"lr": 0.3, HOSTILE: HOSTILE})
    gradbook.seed_everything(1)
    data = SyntheticRegressionData(num_train=64, num_val=32)
    Trainer(2, run="runs", display="off", watch="gradients").fit(LinearRegression(lr=0.03), data)
    runs = ["mlp-1", "mlp-2", "linear-regression-1", make_rates()]
    return gradbook.report(runs, title=HOSTILE, author="김민지")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_without_a_network_for_everybody(opened, everything, width, scheme):
    page = opened(everything, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_printed_it_has_all_parts_on_pages_of_their_own(opened, everything):
    page = opened(everything)
    page.emulate_media(media="print")
    breaks = page.evaluate(
        "[...document.querySelectorAll('section')].map((each) => "
        "getComputedStyle(each).breakBefore)"
    )
    assert set(breaks[1:]) == {"page"}
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


@pytest.fixture
def asking(labs, pages):
    """Asks a lab for reports, as its page does: {"status", "text", "kind"}."""
    page = pages(labs("runs"))
    page.get_by_role("heading").first.wait_for()

    def ask(body):
        return page.evaluate(
            """async (body) => {
              const response = await fetch("/api/report", {method: "POST", body});
              const kind = response.headers.get("content-disposition");
              return {status: response.status, kind, text: await response.text()};
            }""",
            body,
        )

    return ask


def test_the_lab_makes_a_report(asking):
    gradbook.seed_everything(1)
    data = SyntheticRegressionData(num_train=64, num_val=32)
    Trainer(2, run="runs", display="off").fit(LinearRegression(lr=0.03), data)
    sweep = make_rates()
    asking_for = f'{{"runs": ["linear-regression-1", "{sweep.name}"], "title": "Mine"}}'
    answer = {"status": 400}
    while answer["status"] == 400:  # until the lab has looked at the folder again
        answer = asking(asking_for)
    assert answer["status"] == 200, answer["text"]
    assert answer["kind"] == 'attachment; filename="report.html"'
    page = assert_harmless(answer["text"])
    assert page.headings[0] == "Mine"
    assert "Measured on the validation data" in page.text
    assert sweep.name in page.headings


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("[]", "a JSON object"),
        ("{", "not JSON"),
        ('{"runs": []}', "a list of runs"),
        ('{"runs": [1]}', "a list of runs"),
        ('{"runs": ["../../etc"]}', "There is no run"),
        ('{"runs": ["x"], "title": 3}', "The title of a report"),
        ('{"runs": ["x"], "author": "' + "x" * 201 + '"}', "The author of a report"),
        ('{"runs": [' + ", ".join(['"x"'] * 33) + "]}", "at most 32 runs"),
    ],
)
def test_a_request_that_is_none_is_refused(asking, body, told):
    answer = asking(body)
    assert answer["status"] == 400
    assert told in answer["text"]


def test_the_button_saves_a_report(labs, pages, tmp_path):
    make_run()
    page = pages(labs("runs"), accept_downloads=True)
    page.get_by_role("link", name="mlp-1").first.wait_for()
    page.evaluate(
        """async () => {
          const {reportButton} = await import("/page/report-button.js");
          document.querySelector("main").prepend(reportButton(() => ["mlp-1"]));
        }"""
    )
    page.get_by_role("button", name="Report", exact=True).first.click()
    page.get_by_label("Title").fill("Homework <3>")
    page.get_by_label("Author").fill("Kim")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Make the report").click()
    waiting.value.save_as(tmp_path / "report.html")
    written = assert_harmless((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert written.headings[0] == "Homework <3>"
    assert "Kim, " in written.text
