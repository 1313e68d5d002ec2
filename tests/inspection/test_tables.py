from gradbook.inspection.tables import Table


def test_words_are_left_and_numbers_right():
    table = Table(["class", "n"], [["a", "10"], ["longer", "5"]])
    assert repr(table) == "class    n\na       10\nlonger   5"


def test_a_table_without_rows():
    assert repr(Table(["class", "n"], [])) == "class  n"


def test_a_notebook_gets_escaped_cells():
    html = Table(["class", "n"], [["<b>", "1"]])._repr_html_()
    assert '<td style="text-align: left">&lt;b&gt;</td>' in html
    assert '<td style="text-align: right">1</td>' in html
