import io
import re
from base64 import b64decode

import pytest
from matplotlib.figure import Figure
from PIL import Image

from gradbook.display.images import bundle_of, bundle_of_figure


@pytest.fixture
def figure():
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure


def test_a_figure_is_a_drawing_and_pixels_of_the_same_size(figure):
    bundle, sizes = bundle_of_figure(figure, "a line")
    assert "<svg" in bundle["image/svg+xml"]
    assert b64decode(bundle["application/pdf"]).startswith(b"%PDF")
    assert bundle["text/plain"] == "a line"
    image = Image.open(io.BytesIO(b64decode(bundle["image/png"])))
    assert image.width / image.height == pytest.approx(3 / 2)
    assert sizes == {"image/png": {"width": 288, "height": 192}}


def test_a_drawing_of_many_marks_is_left_out(figure):
    figure.axes[0].plot(range(3000), [7 * x % 11 for x in range(3000)], ".")
    assert set(bundle_of_figure(figure, "marks")[0]) == {"image/png", "text/plain"}


def test_without_pixels_a_large_drawing_is_kept():
    assert set(bundle_of("x" * 1_000_000, "")) == {"image/svg+xml", "text/plain"}


def test_a_drawing_that_is_wider_than_a_page_takes_the_page_s_width(figure):
    assert 'width="216pt" height="144pt"' in bundle_of_figure(figure, "")[0]["image/svg+xml"]
    figure.set_size_inches(11, 3)
    bundle, sizes = bundle_of_figure(figure, "")
    assert re.search(r'<svg [^>]*width="100%" viewBox="0 0 792 216"[^>]*>', bundle["image/svg+xml"])
    assert sizes["image/png"] == {"width": 1056, "height": 288}
