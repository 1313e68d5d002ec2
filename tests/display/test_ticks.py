import pytest
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from gradbook.display.ticks import plain_ticks


def texts(low, high, scale="linear"):
    """What the ticks of a vertical axis say, from low to high, and what stands at its end."""
    axes = Figure(figsize=(3.5, 2.5)).add_subplot()
    axes.set_yscale(scale)
    axes.set_ylim(low, high)
    plain_ticks(axes)
    axes.figure.draw_without_rendering()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    assert axes.yaxis.get_offset_text().get_text() == ""
    shown = [tick for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
    return [tick.label1.get_text() for tick in sorted(shown, key=lambda tick: tick.get_loc())]


def test_within_a_decade_a_logarithmic_axis_has_plain_numbers():
    assert {"0.3", "0.4", "0.6"} <= set(texts(0.3, 0.75, "log")) <= {f"0.{i}" for i in range(3, 8)}


def test_over_some_decades_it_has_plain_numbers():
    assert texts(0.001, 100, "log") == ["0.001", "0.01", "0.1", "1", "10", "100"]


def test_over_many_decades_it_has_powers_of_ten():
    shown = texts(1e-9, 1e3, "log")
    assert all("10^{" in text for text in shown)


def test_within_a_decade_of_tiny_numbers_there_are_no_products():
    shown = texts(3e-9, 7.5e-9, "log")
    assert {"3e-9", "4e-9", "6e-9"} <= set(shown) <= {f"{i}e-9" for i in range(3, 8)}


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 3e-5, ["0", "1e\N{MINUS SIGN}5", "2e\N{MINUS SIGN}5", "3e\N{MINUS SIGN}5"]),
        (-2, 2, ["\N{MINUS SIGN}2", "\N{MINUS SIGN}1", "0", "1", "2"]),
        (0, 2e6, ["0", "5.0e5", "1.0e6", "1.5e6", "2.0e6"]),
    ],
)
def test_a_linear_axis_has_whole_numbers_at_its_ticks(low, high, shown):
    assert texts(low, high) == shown


def test_close_numbers_have_the_digits_that_tell_them_apart():
    shown = texts(1000.0001, 1000.0005)
    assert len(set(shown)) == len(shown) > 3


def test_ticks_that_were_chosen_are_kept():
    axes = Figure().add_subplot()
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    plain_ticks(axes)
    assert isinstance(axes.yaxis.get_major_formatter(), PercentFormatter)
