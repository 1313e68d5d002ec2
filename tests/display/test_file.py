import pytest
from matplotlib.figure import Figure

from gradbook.display.file import save_curve, save_figure
from gradbook.errors import StorageError


def test_the_curve_is_saved_as_svg_and_png(tmp_path, board, point):
    point(1, 2)
    svg, png = save_curve(board, tmp_path)
    assert svg.read_text().startswith("<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_gone_is_made_again(tmp_path, board, point):
    point(1, 2)
    assert all(path.exists() for path in save_curve(board, tmp_path / "missing"))


def test_a_folder_that_cannot_be_written_to_is_explained(tmp_path, board, point):
    point(1, 2)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        save_curve(board, tmp_path / "file")


def test_the_ending_of_a_file_says_its_kind(tmp_path):
    svg, png = tmp_path / "new" / "a.svg", tmp_path / "b.PNG"
    save_figure(Figure(), [svg, png])
    assert b"<svg" in svg.read_bytes()
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_figure_is_laid_out_once_for_all_its_files_and_keeps_its_layout(tmp_path, monkeypatch):
    figure = Figure(layout="constrained")
    figure.add_subplot().set_ylabel("a long name\nof two lines")
    layout = figure.get_layout_engine()
    laid_out, execute = [], layout.execute
    monkeypatch.setattr(layout, "execute", lambda figure: laid_out.append(execute(figure)))
    save_figure(figure, [tmp_path / "a.svg", tmp_path / "a.png"])
    assert len(laid_out) == 1
    assert figure.get_layout_engine() is layout


def test_a_figure_that_cannot_be_saved_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        save_figure(Figure(), [tmp_path / "file" / "a.svg"])
