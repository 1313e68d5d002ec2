"""Findings: words and a figure, on a terminal, in a notebook and in files."""

import pytest
from matplotlib.figure import Figure

from gradbook.display.finding import Finding
from gradbook.errors import ConfigError


class Slope(Finding):
    def _words(self):
        return "slope <2>\x1b[31m"

    def figure(self):
        figure = Figure()
        figure.add_subplot().plot([0, 1], [0, 2])
        return figure


def test_a_terminal_gets_the_words_without_control_characters():
    assert repr(Slope()) == str(Slope()) == r"slope <2>\x1b[31m"


def test_a_notebook_gets_figure_and_words(outputs):
    Slope()._ipython_display_()
    figure, words = outputs
    assert set(figure) == {"image/svg+xml", "image/png", "application/pdf", "text/plain"}
    assert words["text/plain"] == r"slope <2>\x1b[31m"
    assert r">slope &lt;2&gt;\x1b[31m</pre>" in words["text/html"]


def test_a_notebook_gets_the_words_of_what_cannot_be_drawn(outputs):
    class Nothing(Slope):
        def figure(self):
            raise ConfigError("nothing yet")

    Nothing()._ipython_display_()
    assert [set(output) for output in outputs] == [{"text/html", "text/plain"}]


def test_ipython_in_a_terminal_gets_the_words(capsys):
    Slope()._ipython_display_()
    assert capsys.readouterr().out == "slope <2>\\x1b[31m\n"


@pytest.mark.parametrize("kind", ["svg", "png", "PNG"])
def test_it_is_saved_by_the_ending(tmp_path, kind):
    path = tmp_path / f"slope.{kind}"
    Slope().save(path)
    assert (b"<svg" if kind == "svg" else b"\x89PNG") in path.read_bytes()


def test_another_ending_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"\.svg or \.png, but .*slope\.gif"):
        Slope().save(tmp_path / "slope.png", tmp_path / "slope.gif")
    assert not (tmp_path / "slope.png").exists()
