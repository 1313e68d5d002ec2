"""The colors of curves: the same in every figure, and on the page of the lab.

They can be told apart with any kind of color vision, and stand out from white and from the lab's
dark page at a ratio of at least 3 (`tests/display/test_palette.py` computes both). The first four
are of Okabe and Ito's set. Matplotlib's own cycle has neither: its orange and its green look alike
to one man in a hundred.
"""

#: The colors, in the order in which curves take them.
COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#875A2D", "#8778F0", "#A53C78", "#96964B"),
)


def color_of(name: str) -> str:
    """The color that a figure draws with where "C0", "C1" and so on name one of these.

    A learner who has given Matplotlib colors of their own gets these. Any other name is its own.
    """
    if not (name[:1] == "C" and name[1:].isdecimal()):
        return name
    import matplotlib as mpl

    if mpl.rcParams["axes.prop_cycle"] != mpl.rcParamsDefault["axes.prop_cycle"]:
        return name
    return COLORS[int(name[1:]) % len(COLORS)]
