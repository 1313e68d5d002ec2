import pytest

from gradbook import chapters
from gradbook.errors import NotCarriedError


@pytest.mark.parametrize(
    ("name", "chapter"),
    [
        ("corr2d", ("7", "Convolutional Neural Networks")),
        ("BERTModel", ("15", "Natural Language Processing: Pretraining")),
        ("FashionMNIST", None),
        ("corr", None),
    ],
)
def test_chapter_of_a_name(name, chapter):
    assert chapters.chapter_of(name) == chapter


def test_error_names_the_chapter():
    error = chapters.not_carried("HPOTuner")
    assert isinstance(error, NotCarriedError)
    assert "chapter 19 of the book (Hyperparameter Optimization)" in str(error)


def test_no_error_for_a_name_that_is_not_the_books():
    assert chapters.not_carried("qqq") is None


def test_no_name_stands_in_two_chapters():
    names = [name for names in chapters.NOT_CARRIED.values() for name in names.split()]
    assert len(names) == len(set(names))
