import pytest

from gradbook.display.file import save_curve
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
