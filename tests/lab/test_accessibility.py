"""The page for everybody: with a keyboard, with a screen reader, in each theme and language."""

import os
import re
from contextlib import chdir
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from tests.lab.conftest import RunningLab
from tests.runs.folders import make_run, metrics_of
from tests.sweeps.written import make_rates

import gradbook.lab

pytestmark = pytest.mark.slow

PAGE = Path(gradbook.lab.__file__).with_name("page")

#: A stranger's name for a run.
HOSTILE = "<b>net & 1"

VIEWS = {
    "runs": "#/runs",
    "run": "#/run/moons-1",
    "sweep": "#/sweep/net-sweep-1",
    "compare": f"#/compare?runs={quote('mlp-1,mlp-2')}",
    "playground": "#/playground",
    "look": "#/look/moons-1",
    "hostile": f"#/run/{quote(HOSTILE)}",
    "lost": "#/nowhere",
}

#: How the page is looked at: the context of the browser.
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark", "locale": "ko-KR"},
    "phone": {"color_scheme": "light", "locale": "ko-KR", "viewport": (390, 844)},
    "dark phone": {"color_scheme": "dark", "viewport": (390, 844)},
}

#: Resolves when nothing in the view has changed for a while.
SETTLED = """() => new Promise((done) => {
  let pending = setTimeout(done, 700);
  const end = setTimeout(done, 10000);
  new MutationObserver(() => {
    clearTimeout(pending);
    pending = setTimeout(done, 700);
  }).observe(document.getElementById("view"), {childList: true, subtree: true});
})"""

#: Everything that a keyboard has to reach, as far as it can be seen.
REACHABLE = """() => {
  const all = "a[href], button, input, select, textarea, summary, [tabindex='0']";
  const radios = new Set();
  return [...document.querySelectorAll(all)].filter((node) => {
    if (node.disabled || node.tabIndex < 0 || !node.checkVisibility({visibilityProperty: true})) {
      return false;
    }
    if (node.type !== "radio") return true;
    const isFirst = !radios.has(node.name);  // arrows lead to the others of a group
    radios.add(node.name);
    return isFirst;
  }).map((node) => {
    const group = node.type === "radio" ? `[name=${node.name}]` : "";
    const isReached = node.dataset.walked
      || (group && document.querySelector(`${group}[data-walked]`));
    return isReached ? null : node.outerHTML.slice(0, 200);
  }).filter(Boolean);
}"""

#: Marks what has the focus; tells what it is, and whether that can be seen.
FOCUSED = """() => {
  const node = document.activeElement;
  if (!node || node === document.body || node.dataset.walked) return null;
  node.dataset.walked = "yes";
  const look = () => [node, ...node.children].map((each) => {
    const {outlineStyle, outlineWidth, boxShadow, stroke, strokeWidth} = getComputedStyle(each);
    return [outlineStyle, outlineWidth, boxShadow, stroke, strokeWidth].join();
  }).join();
  const focused = look();
  node.blur();
  const isSeen = look() !== focused;
  node.focus({preventScroll: true});
  return {isSeen, html: node.outerHTML.slice(0, 200)};
}"""


def is_there(name):
    """Whether a view has been written: another branch may lack it."""
    module = VIEWS[name].removeprefix("#/").partition("/")[0].partition("?")[0]
    path = PAGE / f"{module}.js"
    return not path.exists() or "// To be written." not in path.read_text(encoding="utf-8")


WRITTEN = [name for name in VIEWS if is_there(name)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with a run of each kind."""
    folder = tmp_path_factory.mktemp("lab")
    before = {name: os.environ.get(name) for name in ("GRADBOOK_DISPLAY", "GRADBOOK_OFFLINE")}
    os.environ |= {"GRADBOOK_DISPLAY": "off", "GRADBOOK_OFFLINE": "1"}
    with chdir(folder):
        make_run("mlp-1", metrics_of(rate=0.1))
        make_run("mlp-2", metrics_of(rate=0.3), {"lr": 0.3}, findings=["A finding <b>."])
        make_run(HOSTILE)
        make_rates()
        Path(make_run("damaged-1"), "run.json").write_text("{}")
        gradbook.seed_everything(1)
        model = gradbook.MLP(num_outputs=2, num_hiddens=4, lr=0.1)
        run = gradbook.runs.Run("runs", "moons", pictures=False)
        trainer = gradbook.Trainer(2, run=run, display="off", watch="gradients")
        trainer.fit(model, gradbook.Moons(num_train=64, num_val=32))
    lab = RunningLab(folder / "runs", folder / "state")
    yield lab
    lab.kill()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def opened(lab, browser):
    """Opens a view anew, as one does from a link that somebody has sent."""
    problems, contexts = [], []

    def open_view(name, viewport=(1280, 800), **options):
        width, height = viewport
        options = {"locale": "en-US", "viewport": {"width": width, "height": height}, **options}
        context = browser.new_context(**options)
        contexts.append(context)
        context.new_page().goto(lab.opening)  # which gives it the cookie
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{lab.address}/{VIEWS[name]}")
        page.locator("#view h1").first.wait_for()
        page.evaluate(SETTLED)
        return page

    yield open_view
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def pages_by_look():
    """The pages that are open, by how they are looked at: opening one takes a while."""
    pages = {}
    yield pages
    for page in pages.values():
        page.context.close()


@pytest.fixture
def led(lab, browser, pages_by_look):
    """Follows a link to a view, on a page that shows another one."""

    def lead(name, look="light"):
        page = pages_by_look.get(look)
        if page is None:
            options = {"locale": "en-US", "viewport": (1280, 800), **LOOKS[look]}
            width, height = options.pop("viewport")
            viewport = {"width": width, "height": height}
            context = browser.new_context(viewport=viewport, **options)
            page = pages_by_look[look] = context.new_page()
            page.problems = []
            page.on("pageerror", lambda error: page.problems.append(str(error)))
            page.goto(lab.opening)
        page.evaluate("() => (location.hash = '#/nowhere')")
        page.evaluate(SETTLED)
        page.evaluate("(hash) => (location.hash = hash)", VIEWS[name])
        page.locator("#view h1:focus").wait_for()
        page.evaluate(SETTLED)
        return page

    yield lead
    assert [problem for page in pages_by_look.values() for problem in page.problems] == []


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", WRITTEN)
def test_no_rule_of_axe_is_violated(led, name, look):
    page = led(name, look)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    page.evaluate(SETTLED)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_phone_need_not_be_moved_sideways(led, name):
    assert led(name, "phone").evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("name", WRITTEN)
def test_a_link_leads_to_the_heading_after_which_the_page_is_named(led, name):
    page = led(name)
    assert page.evaluate("document.activeElement.matches('#view h1')")
    headings = page.locator("#view h1").all_text_contents()
    assert len(headings) == 1
    assert page.title() == f"{headings[0]} – gradbook lab"


@pytest.mark.parametrize("name", WRITTEN)
def test_a_keyboard_reaches_everything_and_shows_where_it_is(opened, name):
    page = opened(name)
    hidden = []
    for _ in range(400):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            break
        hidden += [] if focused["isSeen"] else [focused["html"]]
    assert hidden == []
    assert page.evaluate(REACHABLE) == []


def test_the_first_key_leads_past_the_header(opened):
    page = opened("runs")
    address = page.url
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    box = page.locator("#skip").bounding_box()
    assert box["width"] > 50
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "view"
    assert page.url == address


@pytest.mark.parametrize(
    ("locale", "language"), [("en-US", "en"), ("ko-KR", "ko"), ("fr-FR", "en")]
)
def test_the_page_says_in_which_language_it_is(opened, locale, language):
    page = opened("runs", locale=locale)
    assert page.evaluate("document.documentElement.lang") == language


def test_another_language_stays_where_one_is(opened):
    page = opened("runs")
    page.get_by_label("Language").focus()
    page.get_by_label("Language").select_option("ko")
    page.get_by_role("heading", name="실행 기록").wait_for()
    assert page.evaluate("document.documentElement.lang") == "ko"
    assert page.evaluate("document.activeElement.id") == "language"
    assert page.get_by_role("navigation", name="페이지").is_visible()
    page.reload()
    page.get_by_role("heading", name="실행 기록").wait_for()


def test_the_theme_follows_the_machine_until_it_is_chosen(opened):
    page = opened("runs", color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.reload()
    page.get_by_role("button", name="Dark theme").wait_for()


# Colors


def tokens(theme):
    """The colors of a theme, as style.css has them."""
    css = (PAGE / "style.css").read_text(encoding="utf-8")
    selector = ":root {" if theme == "light" else ':root[data-theme="dark"] {'
    block = css.partition(selector)[2].partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def contrast(one, other):
    """The ratio of two colors' luminances, as the guidelines for contrast define it."""

    def luminance(color):
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_has_the_largest_contrast():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel"])
def test_texts_can_be_read_in_each_theme(theme, ground):
    colors = tokens(theme)
    for name in ("text", "muted", "accent", "good", "bad", "warn"):
        assert contrast(colors[name], colors[ground]) >= 4.5, name
    assert contrast(colors["on-accent"], colors["accent"]) >= 4.5
    assert contrast(colors["control"], colors[ground]) >= 3
