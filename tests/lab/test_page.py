"""The page in a real browser."""

import pytest

from gradbook import SyntheticRegressionData, Trainer
from gradbook.models import LinearRegression

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(tmp_path, blank_figures):
    root = tmp_path / "runs"
    Trainer(2, run=root, display="off").fit(
        LinearRegression(lr=0.03), SyntheticRegressionData(num_train=64, num_val=32)
    )
    return root


def test_a_run_is_listed(labs, pages, runs):
    page = pages(labs(runs))
    page.get_by_role("link", name="linear-regression-1").wait_for()


def test_a_run_that_begins_later_appears(labs, pages, runs, blank_figures):
    page = pages(labs(runs))
    page.get_by_role("link", name="linear-regression-1").wait_for()
    Trainer(2, run=runs, display="off").fit(
        LinearRegression(lr=0.03), SyntheticRegressionData(num_train=64, num_val=32)
    )
    page.get_by_role("link", name="linear-regression-2").wait_for()
