import re

import pytest

from gradbook.book import chapters
from gradbook.errors import NotCarriedError


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train_ch3", r"`d2l\.Trainer\(max_epochs=10\)\.fit\(model, data\)`; `d2l\.train_ch6\("),
        ("train_epoch_ch3", r"\.fit\(model, data\)`"),
        ("evaluate_accuracy", r"`d2l\.evaluate_accuracy_gpu\(net, data_iter\)`"),
        ("predict_ch3", r"`d2l\.Trainer\(1\)\.predict\(model, data\)`"),
        ("RNNModelScratch", r"chapter 9 \(Recurrent Neural Networks\)"),
        ("load_data_time_machine", r"chapter 9 \(Recurrent Neural Networks\)"),
        ("semilogy", r"yscale=\"log\""),
        ("train_ch99", r"A function with the number of a chapter"),
    ],
)
def test_a_name_of_an_earlier_edition_is_told_what_to_write_now(name, told):
    assert "earlier edition of the book" in message(name)
    assert re.search(told, message(name))
    assert "Did you mean" not in message(name)


def message(name):
    error = chapters.not_carried(name)
    assert isinstance(error, NotCarriedError)
    return str(error)


def test_what_an_earlier_edition_had_stands_in_no_chapter():
    assert not set(chapters.EARLIER) & set(chapters.HOMES)


def test_no_error_for_a_name_that_is_not_the_books():
    assert chapters.not_carried("qqq") is None


def test_all_names_of_the_later_chapters_are_there():
    assert len(chapters.HOMES) == 117
