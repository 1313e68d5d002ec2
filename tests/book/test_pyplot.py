import pickle

import cloudpickle
import pytest
from matplotlib import pyplot

from d2l import torch as d2l


def test_stem_takes_the_argument_that_matplotlib_removed():
    container = d2l.plt.stem([0, 1], [0.3, 0.7], use_line_collection=True)
    assert len(container.stemlines.get_segments()) == 2


def test_the_stem_of_matplotlib_stays_as_it_is():
    with pytest.raises(TypeError, match="use_line_collection"):
        pyplot.stem([0, 1], [0.3, 0.7], use_line_collection=True)


def test_all_other_names_are_those_of_pyplot():
    assert dir(d2l.plt) == dir(pyplot)
    for name in ("xlim", "figure", "rcParams", "show", "Figure"):
        assert getattr(d2l.plt, name) is getattr(pyplot, name)
    with pytest.raises(AttributeError, match="qqq"):
        d2l.plt.qqq  # noqa: B018


def test_what_is_set_is_set_in_pyplot_and_can_be_taken_back(monkeypatch):
    monkeypatch.setattr(d2l.plt, "show", lambda: "shown")
    assert pyplot.show() == "shown"
    d2l.plt.marker = 3
    assert pyplot.marker == 3
    del d2l.plt.marker
    assert not hasattr(pyplot, "marker")


def test_stem_itself_can_be_replaced(monkeypatch):
    before = pyplot.stem
    monkeypatch.setattr(d2l.plt, "stem", lambda: "stem")
    assert d2l.plt.stem() == "stem"
    assert pyplot.stem is before


def test_it_is_pickled_by_name():
    for library in (pickle, cloudpickle):
        assert pickle.loads(library.dumps(d2l.plt)) is d2l.plt
