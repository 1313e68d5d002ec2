"""A competition's images in folders."""

import pytest

from gradbook.book import kaggle
from gradbook.errors import ConfigError, DataError


@pytest.fixture
def data_dir(tmp_path):
    """Images 1 to 12 for training, of which every third is a dog, and two for testing."""
    folder = tmp_path / "data"
    for split, numbers in (("train", range(1, 13)), ("test", (1, 2))):
        (folder / split).mkdir(parents=True)
        for i in numbers:
            (folder / split / f"{i}.png").write_text(f"{split} {i}")
    lines = [f"{i},{'dog' if i % 3 == 0 else 'cat'}" for i in range(1, 13)]
    (folder / "labels.csv").write_text("\n".join(["id,label", *lines, ""]))
    return folder


def names(folder):
    """The numbers of the images in a folder for each class."""
    return {
        part.name: sorted(int(path.stem) for path in part.iterdir()) for part in folder.iterdir()
    }


def test_labels_are_known_by_the_names_of_the_files(data_dir):
    labels = kaggle.read_csv_labels(data_dir / "labels.csv")
    assert len(labels) == 12
    assert (labels["3"], labels["4"]) == ("dog", "cat")


def test_the_first_of_each_class_are_for_validation(data_dir):
    labels = kaggle.read_csv_labels(data_dir / "labels.csv")
    assert kaggle.reorg_train_valid(data_dir, labels, valid_ratio=0.5) == 2
    made = data_dir / "train_valid_test"
    assert names(made / "valid") == {"cat": [1, 2], "dog": [3, 6]}
    assert names(made / "train") == {"cat": [4, 5, 7, 8, 10, 11], "dog": [9, 12]}
    assert names(made / "train_valid") == {
        "cat": [1, 2, 4, 5, 7, 8, 10, 11],
        "dog": [3, 6, 9, 12],
    }
    assert (made / "valid" / "cat" / "2.png").read_text() == "train 2"


def test_another_ratio_leaves_no_image_in_both_sets(data_dir):
    labels = kaggle.read_csv_labels(data_dir / "labels.csv")
    kaggle.reorg_train_valid(data_dir, labels, 0.5)
    assert kaggle.reorg_train_valid(data_dir, labels, 0.0) == 1
    made = data_dir / "train_valid_test"
    assert names(made / "valid") == {"cat": [1], "dog": [3]}
    assert names(made / "train")["dog"] == [6, 9, 12]


def test_the_test_images_have_an_unknown_class(data_dir):
    kaggle.reorg_test(data_dir)
    assert names(data_dir / "train_valid_test" / "test") == {"unknown": [1, 2]}


def test_what_does_not_fit_is_named(data_dir, tmp_path):
    with pytest.raises(DataError, match=r"1\.png has no label: '1' is not in"):
        kaggle.reorg_train_valid(data_dir, {"2": "cat"}, 0.1)
    with pytest.raises(DataError, match="There are no labels"):
        kaggle.reorg_train_valid(data_dir, {}, 0.1)
    with pytest.raises(ConfigError, match="must be a fraction"):
        kaggle.reorg_train_valid(data_dir, {"1": "cat"}, 10)
    with pytest.raises(DataError, match="There is no folder"):
        kaggle.reorg_test(tmp_path / "elsewhere")
    (tmp_path / "a.csv").write_text("id,label\n1,2,3\n")
    with pytest.raises(DataError, match="a name and a label in each row"):
        kaggle.read_csv_labels(tmp_path / "a.csv")
