"""A table that a terminal and a notebook show alike."""

import pytest

from gradbook.table import Table


def test_words_are_left_and_numbers_right():
    table = Table(["class", "n"], [["a", "10"], ["longer", "5"]])
    assert repr(table) == "class    n\na       10\nlonger   5"


@pytest.mark.parametrize("cell", ["-", "-1", "+.5", "1,000", "87.5%", "NaN", "-inf"])
def test_what_a_number_may_look_like(cell):
    assert repr(Table(["heading"], [[cell]])).splitlines()[1] == cell.rjust(7)


@pytest.mark.parametrize("cell", ["nano", "info", "--", "R2", "w[0]"])
def test_what_is_a_word(cell):
    assert repr(Table(["heading"], [[cell]])).splitlines()[1] == cell


def test_a_table_without_rows():
    assert repr(Table(["class", "n"], [])) == "class  n"


def test_a_notebook_gets_escaped_cells():
    html = Table(["class", "n"], [["<b>", "1"]])._repr_html_()
    assert '<td style="text-align: left">&lt;b&gt;</td>' in html
    assert '<td style="text-align: right">1</td>' in html
