"""Figures for a notebook's cells: curves, images and heatmaps.

Matplotlib is loaded when the first figure is made. Book: 2.4 (sec_calculus), 3.2, 4.2.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gradbook.display.shell import in_kernel
from gradbook.errors import ConfigError, GradbookWarning, shown, warn

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes


#: The scales of Matplotlib that need no more than a name.
_SCALES = ("linear", "log", "symlog", "asinh", "logit")


def use_svg_display() -> None:
    """Lets a notebook show figures as vector graphics; elsewhere it does nothing. Book: 2.4.2."""
    if not in_kernel():
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg")  # type: ignore[no-untyped-call]


def set_figsize(figsize: Sequence[float] = (3.5, 2.5)) -> None:
    """Sets the size of the figures to come.

    Args:
        figsize: Width and height in inches.

    Raises:
        ConfigError: If these are not two positive numbers.

    Book: 2.4.2.
    """
    from matplotlib import pyplot as plt

    size = tuple(figsize)
    if len(size) != 2 or not all(side > 0 for side in size):
        raise ConfigError(
            f"figsize={figsize!r}, but it is a width and a height in inches, both above 0, "
            f"such as (3.5, 2.5)."
        )
    use_svg_display()
    plt.rcParams["figure.figsize"] = size


def set_axes(
    axes: "Axes",
    xlabel: str | None,
    ylabel: str | None,
    xlim: Sequence[float] | None,
    ylim: Sequence[float] | None,
    xscale: str,
    yscale: str,
    legend: Sequence[str] | None,
) -> None:
    """Sets the names, scales, ranges and legend of axes, and gives them a grid. Book: 2.4.2.

    Args:
        axes: Matplotlib axes.
        xlabel: Name of the x axis.
        ylabel: Name of the y axis.
        xlim: Range of the x axis as (low, high), or None to fit the data.
        ylim: Range of the y axis.
        xscale: "linear" or "log".
        yscale: "linear" or "log".
        legend: The curves' names, in the order in which they were drawn.

    Raises:
        ConfigError: If a range or a scale is not one.
    """
    _check_range("xlim", xlim)
    _check_range("ylim", ylim)
    for name, scale in (("xscale", xscale), ("yscale", yscale)):
        if scale not in _SCALES:
            from gradbook.checks import check_choice  # loads PyTorch

            check_choice(scale, name, _SCALES)
    axes.set_xlabel(xlabel or "")
    axes.set_ylabel(ylabel or "")
    axes.set_xscale(xscale)
    axes.set_yscale(yscale)
    if xlim is not None:
        axes.set_xlim(*xlim)
    if ylim is not None:
        axes.set_ylim(*ylim)
    if legend is not None and len(legend):
        axes.legend([legend] if isinstance(legend, str) else list(legend))
    axes.grid()


def plot(
    X: Any,
    Y: Any = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Sequence[str] | None = (),
    xlim: Sequence[float] | None = None,
    ylim: Sequence[float] | None = None,
    xscale: str = "linear",
    yscale: str = "linear",
    fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
    figsize: Sequence[float] = (3.5, 2.5),
    axes: "Axes | None" = None,
) -> None:
    """Draws curves on `axes`, or on the current axes, after clearing them. Book: 2.4.2.

    Args:
        X: The positions: one curve (a tensor or array of shape (n,) or (n, 1), or a list of
            numbers), or a list of curves, of which a matrix has one in each row; or a pandas
            table, with one in each column. One X serves many Y.
        Y: The values, likewise. None draws X against its index.
        xlabel: Name of the x axis.
        ylabel: Name of the y axis.
        legend: The curves' names; without it those of a table's columns.
        xlim: Range of the x axis as (low, high), or None to fit the data.
        ylim: Range of the y axis.
        xscale: "linear" or "log".
        yscale: "linear" or "log".
        fmts: Matplotlib's line formats, used in turn; there may be more curves.
        figsize: Width and height of a new figure, in inches.
        axes: Matplotlib axes to draw on.

    Raises:
        ConfigError: If positions and values differ in number, or a range or a curve is not one.
    """
    table = X if Y is None else Y
    if not legend and _has_names(table):
        legend = list(map(str, table.keys()))
    if Y is None:
        values = _curves(X)
        positions = [range(len(curve)) for curve in values]
    else:
        positions, values = _curves(X), _curves(Y)
        if len(positions) == 1:
            positions *= len(values)
        if len(positions) != len(values):
            raise ConfigError(
                f"X has {len(positions)} curves, but Y has {len(values)}. Give one X for all "
                f"curves, or one for each."
            )
    for number, (x, y) in enumerate(zip(positions, values, strict=True)):
        if len(x) != len(y):
            which = f" of curve {number}" if len(values) > 1 else ""
            advice = "Each value needs a position."
            if getattr(Y, "ndim", 0) == 2 and len(Y) == len(x):
                advice = "A matrix has one curve in each row; with one in each column, give `Y.T`."
            raise ConfigError(f"X{which} has {len(x)} points, but Y has {len(y)}. {advice}")
    fmts = [fmts] if isinstance(fmts, str) else fmts
    if not fmts:
        raise ConfigError("fmts is empty, but a curve needs a format, such as '-'.")

    set_figsize(figsize)
    if axes is None:
        from matplotlib import pyplot as plt

        axes = plt.gca()
    axes.cla()
    for number, (x, y) in enumerate(zip(positions, values, strict=True)):
        try:
            axes.plot(x, y, fmts[number % len(fmts)])
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"Curve {number} cannot be drawn with the format {fmts[number % len(fmts)]!r}, "
                f"such as '-' or 'r--': {error}."
            ) from error
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)


def show_images(
    imgs: Any,
    num_rows: int = 1,
    num_cols: int | None = None,
    titles: Sequence[Any] | None = None,
    scale: float = 1.5,
) -> "np.ndarray[Any, Any]":
    """Draws images in a grid. Book: 4.2.3.

    Args:
        imgs: Images as tensors or arrays of shape (H, W) or (H, W, 3), also (1, H, W) or
            (3, H, W), or as PIL images; also a batch of them. What exceeds the grid is left out,
            with a warning.
            A single image needs no list. In a grid of one place (3, H, W) is one in color;
            in a larger one, three gray ones.
        num_rows: The rows of the grid.
        num_cols: The columns of the grid; None takes as many as the images need.
        titles: The images' titles, or that of the first; there may be fewer.
        scale: Width and height of an image in inches.

    Returns:
        The axes as an array of shape (num_rows * num_cols,).

    Raises:
        ConfigError: If the grid has no place, there is no image, or one has another shape.
    """
    import numpy as np
    from matplotlib import pyplot as plt

    from gradbook.checks import check_positive, check_whole_number  # loads PyTorch

    num_rows = check_whole_number(num_rows, "num_rows", at_least=1)
    if num_cols is not None:
        num_cols = check_whole_number(num_cols, "num_cols", at_least=1)
    check_positive(scale, "scale")
    imgs = _numbers(imgs)
    num_places = num_rows * (num_cols or 1)
    if _is_one_image(imgs, num_places):
        if getattr(imgs, "ndim", None) == 2 and 1 < len(imgs) <= num_places < imgs.shape[1]:
            raise ConfigError(_flat(imgs.shape))
        imgs = [imgs]
    if not hasattr(imgs, "__iter__") or isinstance(imgs, str):
        raise ConfigError(_no_image(imgs))
    if getattr(imgs, "ndim", None) == 4 and imgs.shape[1] == 1:
        imgs = imgs[:, 0]
    imgs = list(imgs)
    if not imgs:
        raise ConfigError("There is no image to draw: the list of images is empty.")
    if num_cols is None:
        num_cols = -(-len(imgs) // num_rows)
    num_places = num_rows * num_cols
    images = [_pixels(image) for image in imgs[:num_places]]
    if len(imgs) > num_places:
        warn(
            f"Of {len(imgs)} images, {len(imgs) - num_places} have no place in a grid of "
            f"{num_rows} x {num_cols}, and are left out. Leave num_cols out to draw them all.",
            GradbookWarning,
        )
    use_svg_display()
    _, grid = plt.subplots(
        num_rows, num_cols, figsize=(num_cols * scale, num_rows * scale), squeeze=False
    )
    axes: np.ndarray[Any, Any] = grid.flatten()
    titles = [] if titles is None else _numbers(titles)
    is_one = _is_number(titles) and not isinstance(titles, Iterator)
    titles = [titles] if is_one else list(titles)
    for ax in axes:
        ax.get_xaxis().set_visible(False)
        ax.get_yaxis().set_visible(False)
    for ax, image in zip(axes, images, strict=False):
        ax.imshow(image)
    for ax in axes[len(images) :]:
        ax.set_axis_off()
    for ax, title in zip(axes[: len(images)], titles, strict=False):
        ax.set_title(str(title))
    return axes


def show_heatmaps(
    matrices: Any,
    xlabel: str,
    ylabel: str,
    titles: Sequence[Any] | None = None,
    figsize: Sequence[float] = (2.5, 2.5),
    cmap: str = "Reds",
) -> None:
    """Draws matrices, such as attention weights, in a grid, with one scale of colors for all.

    Args:
        matrices: A tensor or array (rows of the grid, columns of the grid, num_queries, num_keys).
        xlabel: Name of the x axes, below the last row.
        ylabel: Name of the y axes, beside the first column.
        titles: A title for each column.
        figsize: Width and height of the figure in inches.
        cmap: Matplotlib's name of the colors.

    Raises:
        ConfigError: If `matrices` has another shape, or there are too few titles.

    Book: 11.1.2.
    """
    import numpy as np
    from matplotlib import pyplot as plt

    values = np.asarray(_numbers(matrices))
    if values.ndim != 4 or 0 in values.shape:
        raise ConfigError(
            f"matrices has the shape (rows, columns, num_queries, num_keys), but it is "
            f"{tuple(values.shape)}. One matrix is `matrix.reshape(1, 1, *matrix.shape)`."
        )
    num_rows, num_cols = values.shape[:2]
    titles = [] if titles is None else list(titles)
    if titles and len(titles) < num_cols:
        raise ConfigError(f"There are {len(titles)} titles for {num_cols} columns of matrices.")
    use_svg_display()
    fig, grid = plt.subplots(
        num_rows, num_cols, figsize=figsize, sharex=True, sharey=True, squeeze=False
    )
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0, 1)
    for axes, row in zip(grid, values, strict=True):
        for ax, matrix in zip(axes, row, strict=True):
            drawn = ax.imshow(matrix, cmap=cmap, vmin=low, vmax=high)
        for ax, title in zip(axes, titles, strict=False):
            ax.set_title(str(title))
        axes[0].set_ylabel(ylabel)
    for ax in grid[-1]:
        ax.set_xlabel(xlabel)
    fig.colorbar(drawn, ax=grid, shrink=0.6)


def show_list_len_pair_hist(
    legend: Sequence[str],
    xlabel: str,
    ylabel: str,
    xlist: Sequence[Any],
    ylist: Sequence[Any],
) -> None:
    """Draws how often each length occurs in two lists of sequences, beside each other.

    Args:
        legend: The names of the two lists.
        xlabel: Name of the x axis.
        ylabel: Name of the y axis.
        xlist: The first list.
        ylist: The second list.

    Raises:
        ConfigError: If one of them is empty.

    Book: 10.5.2.
    """
    from matplotlib import pyplot as plt

    if not len(xlist) or not len(ylist):
        raise ConfigError("xlist and ylist need a sequence each, but one of them is empty.")
    set_figsize()
    _, _, bars = plt.hist([[*map(len, xlist)], [*map(len, ylist)]])
    for patch in bars[1]:  # type: ignore[union-attr,index]
        patch.set_hatch("/")
    plt.xlabel(xlabel)
    plt.ylabel(ylabel)
    plt.legend(list(legend))


def _is_one_image(values: Any, num_places: int) -> bool:
    """Whether it is an image itself, and not several; an array of three dimensions may be both."""
    shape: tuple[int, ...] | None = getattr(values, "shape", None)
    if shape is None:
        return hasattr(values, "getbands")  # a PIL image
    if len(shape) != 3:
        return len(shape) == 2
    # Images that are three wide and many high are none, but kernels of 3 x 3 are drawn, too.
    is_last = shape[-1] in (1, 3, 4) and min(shape[:2]) > 4
    return is_last or (num_places == 1 and shape[0] in (3, 4))


def _numbers(values: Any) -> Any:
    """A tensor as an array, also one that requires a gradient or is on another device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if hasattr(values, "to_dense"):  # as of a sparse tensor
            values = values.to_dense()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has no such type
            values = values.float()
        return values.numpy()
    return values


def _curves(values: Any) -> list[Any]:
    """One or more curves, each as something with a length, from any of the forms of `plot`."""
    values = _numbers(values)
    if _has_names(values):
        values = [curve for _, curve in values.items()]
    if _is_number(values):
        if not isinstance(values, Iterator):
            told = f"one {'text' if isinstance(values, str) else 'number'}: {values!r}"
            if values is None or callable(values):
                told = "None" if values is None else "a function. Give its values, such as f(x)"
            raise ConfigError(f"A curve is a list of numbers, but this is {told}.")
        values = list(values)
    if _is_column(values):
        values = values[:, 0]
    if getattr(values, "ndim", None) == 1:
        return [values]
    items = [_numbers(value) for value in values]
    if all(map(_is_number, items)):
        return [items]
    if len(items) > 1 and all(getattr(item, "size", 0) == 1 for item in items):
        return [[item.item() for item in items]]  # arrays of one number are no curves
    for number, item in enumerate(items):
        if _is_number(item):
            raise ConfigError(
                f"A list of curves holds only curves, but its item {number} is the number {item}."
            )
        if getattr(item, "ndim", 1) > 1 and not _is_column(item):
            raise ConfigError(
                f"A curve has the shape (n,) or (n, 1), but item {number} of a list of curves has "
                f"{tuple(item.shape)}."
            )
    return [_curve(item) for item in items]


def _curve(item: Any) -> Any:
    """A curve as something of one dimension."""
    if isinstance(item, list | tuple):
        return list(map(_numbers, item))
    return item[:, 0] if _is_column(item) else item


def _has_names(values: Any) -> bool:
    """Whether it is a table, or a dictionary, of curves."""
    return isinstance(values, Mapping) or hasattr(values, "columns")


def _is_column(values: Any) -> bool:
    return getattr(values, "ndim", None) == 2 and values.shape[1] == 1


def _is_number(value: Any) -> bool:
    """Whether it is no sequence; text and an array without dimensions only look like one."""
    is_scalar = isinstance(value, str) or getattr(value, "ndim", None) == 0
    return is_scalar or not hasattr(value, "__len__")


def _check_range(name: str, ends: Any) -> None:
    """Refuses what is not (low, high); an end that is None fits the data."""
    if ends is None:
        return
    try:
        low, high = ends
        sound = all(end is None or math.isfinite(end) for end in (low, high))
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise ConfigError(f"{name}={ends!r}, but a range is (low, high), two finite numbers.")


def _pixels(given: Any) -> Any:
    """An image as Matplotlib wants it: the channel last, and none for a gray one."""
    image = _numbers(given)
    if hasattr(image, "getbands"):  # a PIL image
        return image
    if not hasattr(image, "shape"):
        import numpy as np

        with suppress(ValueError):  # rows of several lengths
            image = np.asarray(image)
        if not hasattr(image, "shape") or image.dtype.kind not in "biuf":
            raise ConfigError(_no_image(given))
    shape = image.shape
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[-1] not in (1, 3, 4):
        image = image.transpose(1, 2, 0)
    if len(shape) == 3 and image.shape[-1] == 1:
        image = image[:, :, 0]
    if len(shape) == 1:
        raise ConfigError(_flat(shape))
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] in (3, 4)):
        raise ConfigError(
            f"An image has the shape (H, W), (H, W, 3) or (3, H, W), but this one has {shape}."
        )
    return image


def _no_image(value: Any) -> str:
    advice = ""
    if isinstance(value, str | os.PathLike):
        advice = " Open the file first: `PIL.Image.open(path)`."
    return f"Images are tensors, arrays or PIL images, but got {shown(value)}.{advice}"


def _flat(shape: Sequence[int]) -> str:
    side = math.isqrt(shape[-1])
    sides = f"{side}, {side}" if side * side == shape[-1] else "height, width"
    return (
        f"An image has the shape (H, W), (H, W, 3) or (3, H, W), but of the shape {tuple(shape)} "
        f"each is one row of {shape[-1]} numbers. Reshape them: `X.reshape(-1, {sides})`."
    )
