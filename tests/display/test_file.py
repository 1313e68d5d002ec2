import threading

import pytest

from gradbook.display.file import claim_folder, kebab_case, save_curve
from gradbook.errors import ConfigError


def test_folders_are_numbered(tmp_path):
    names = [claim_folder(tmp_path / "runs", "mlp").name for _ in range(3)]
    assert names == ["mlp-1", "mlp-2", "mlp-3"]


def test_the_number_follows_the_highest_there_is(tmp_path):
    for name in ("mlp-7", "mlp-scratch-9", "mlp-x"):
        (tmp_path / name).mkdir()
    assert claim_folder(tmp_path, "mlp").name == "mlp-8"


def test_many_at_once_get_different_folders(tmp_path):
    folders = []
    threads = [
        threading.Thread(target=lambda: folders.append(claim_folder(tmp_path, "a")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 8


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"No folder .*file.*: .*exists"):
        claim_folder(tmp_path / "file", "mlp")


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
    with pytest.raises(ConfigError, match="cannot be written"):
        save_curve(board, tmp_path / "file")


def test_a_write_that_fails_leaves_no_file(tmp_path, board, point, monkeypatch):
    def fill_the_disk(path, content):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fill_the_disk)
    point(1, 2)
    with pytest.raises(ConfigError, match="No space left"):
        save_curve(board, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MLP", "mlp"),
        ("MLPScratch", "mlp-scratch"),
        ("SoftmaxRegression", "softmax-regression"),
        ("LeNet5", "le-net5"),
        ("my_model", "my-model"),
    ],
)
def test_kebab_case(name, expected):
    assert kebab_case(name) == expected
