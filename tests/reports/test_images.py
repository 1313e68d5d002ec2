"""Pictures within a report."""

import base64
import io

import pytest
from matplotlib.figure import Figure
from PIL import Image
from tests.reports.reading import Page
from tests.runs.folders import make_run

import gradbook
from gradbook.errors import CorruptFileError
from gradbook.reports.images import image_of, kept_image


def figure(num_points=2):
    drawn = Figure(figsize=(4, 3), layout="constrained")
    drawn.subplots().plot(range(num_points), [k * 7919 % 104729 for k in range(num_points)], ".")
    return drawn


def content(image):
    return base64.b64decode(image.source.partition(",")[2])


def test_a_figure_is_a_drawing_of_its_size():
    image = image_of(figure())
    assert image.source.startswith("data:image/svg+xml;base64,")
    assert (image.width, image.height) == (384, 288)


def test_the_same_figure_has_the_same_bytes():
    assert image_of(figure()) == image_of(figure())


@pytest.mark.slow
def test_a_drawing_with_many_marks_becomes_pixels():
    image = image_of(figure(num_points=5000))
    assert image.source.startswith("data:image/png;base64,")
    assert len(content(image)) < 200_000


def test_letters_of_any_script_stay_letters():
    drawn = figure()
    drawn.axes[0].set_title("정확도 <b>")
    assert "정확도 &lt;b&gt;".encode() in content(image_of(drawn))


@pytest.mark.slow
def test_the_curves_of_a_run_are_drawn():
    make_run()
    images = Page(gradbook.report("mlp-1", inspect=False).read_text()).images
    drawn = next(content for told, content in images.items() if told.startswith("Curves"))
    assert b"val_acc" in drawn


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def picture(width=6, height=4):
    stream = io.BytesIO()
    Image.new("L", (width, height)).save(stream, "png")
    return stream.getvalue()


def test_a_kept_picture_is_taken_as_it_is(folder):
    folder.joinpath("a.png").write_bytes(picture())
    image = kept_image(folder, "a.png")
    assert content(image) == picture()
    assert (image.width, image.height) == (3, 2)


def test_a_picture_that_is_not_there_is_none(folder):
    assert kept_image(folder, "a.png") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg onload=alert(1)>",
        picture()[:20],
        picture()[:16] + b"\xff\xff\xff\xff" + picture()[20:],
        picture()[:16] + b"\0\0\0\0" + picture()[20:],
        picture() + b"0" * 600_000,
    ],
)
def test_what_is_no_such_picture_is_refused(folder, content):
    folder.joinpath("a.png").write_bytes(content)
    with pytest.raises(CorruptFileError):
        kept_image(folder, "a.png")


def test_a_picture_elsewhere_is_refused(folder, tmp_path):
    tmp_path.joinpath("a.png").write_bytes(picture())
    folder.joinpath("a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(CorruptFileError, match="leads out of"):
        kept_image(folder, "a.png")
