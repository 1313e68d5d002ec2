"""What a report says of a sweep."""

import pytest
from tests.reports.reading import assert_harmless
from tests.sweeps.written import make, make_rates

import gradbook

pytestmark = pytest.mark.usefixtures("blank_figures")


def written(sweep):
    path = gradbook.report(sweep, inspect=False)
    return assert_harmless(path.read_text(encoding="utf-8"))


@pytest.fixture
def rates():
    return make_rates()


def test_the_table_is_that_of_the_sweep(rates):
    heading, *rows = written(rates).tables["What each setting reached"]
    table = rates.table()
    assert heading == list(table.heading)
    assert rows == [list(row) for row in table.rows]


def test_the_conclusions_are_those_of_the_sweep(rates):
    text = written(rates).text
    assert rates.findings()
    for finding in rates.findings():
        assert finding in text


def test_the_figure_tells_them_too(rates):
    (alternative, _), *_ = written(rates).images.items()
    assert rates.findings()[0] in alternative


def test_each_training_is_listed(rates):
    _, *rows = written(rates).tables["Each training"]
    assert [row[1] for row in rows] == [member.told for member in rates.members]


def test_a_sweep_in_which_nothing_was_trained_has_no_figure():
    page = written(make([({"lr": 0.1}, {}), ({"lr": 0.2}, {})], errors=("no", "no")))
    assert page.images == {}


def test_what_was_swept_is_told(rates):
    swept = rates.facts["swept"]["lr"]
    assert written(rates).pairs["lr"] == [", ".join(f"{lr:g}" for lr in swept)]
