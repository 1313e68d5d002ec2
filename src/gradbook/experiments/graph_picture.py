"""The picture of a computational graph: forward from top to bottom, backward beside it."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gradbook.display.file import new_figure
from gradbook.display.words import bytes_text, counted
from gradbook.experiments.graph_data import GraphData, Operation
from gradbook.experiments.graph_layout import Stop, arrange, rows_and_routes
from gradbook.experiments.recording import Variable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: With more operations than this, `group="auto"` draws a box for each layer.
_MANY = 40
#: Sizes of text, in points.
_HEADING, _TITLE, _TEXT = 10, 8.5, 7.5
#: The height of a line of text, and the space around texts, in inches.
_LINE, _PADDING = 0.135, 0.055
#: Gaps between what stands beside each other in a cell, between parameters, and between the two
#: directions of an edge that passes a row.
_BESIDE, _STACK_GAP, _ASIDE = 0.28, 0.06, 0.07
#: The height of heading and legend, the gap within the legend, and the margin of the picture.
_HEAD, _LEGEND_GAP, _MARGIN = 0.75, 0.12, 0.1
#: The longest name that is written out, the most names in a list, the most boxes beside another.
_LONGEST_NAME, _MOST_NAMES, _MOST_BESIDE = 26, 3, 4

#: Background and edge of each kind of box.
_COLORS = {
    "forward": ("#dbe9f6", "#1f5f99"),
    "backward": ("#fde5cf", "#b35806"),
    "parameter": ("#e2f0d9", "#3f7f2b"),
    "batch": ("#ffffff", "#000000"),
    "constant": ("#eeeeee", "#777777"),
}


@dataclass(eq=False)
class _Block:
    """Texts in a frame; the first line is its title."""

    kind: str
    lines: list[str]
    is_loss: bool = False

    @property
    def width(self) -> float:
        """In inches."""
        title, *rest = self.lines
        widths = [_text_width(line, _TEXT) for line in rest]
        return max([_text_width(title, _TITLE, bold=True), *widths]) + 3 * _PADDING

    @property
    def height(self) -> float:
        """In inches."""
        return len(self.lines) * _LINE + 2 * _PADDING

    def draw(self, axes: "Axes", x: float, y: float, width: float | None = None) -> None:
        """Draws it around the center (x, y)."""
        from matplotlib.patches import FancyBboxPatch

        width = self.width if width is None else width
        face, edge = _COLORS[self.kind]
        is_operation = self.kind in ("forward", "backward")
        frame = FancyBboxPatch(
            (x - width / 2, y - self.height / 2),
            width,
            self.height,
            boxstyle="round,pad=0,rounding_size=0.07" if is_operation else "square,pad=0",
            facecolor=face,
            edgecolor=edge,
            linewidth=2.2 if self.is_loss else 0.9,
        )
        axes.add_patch(frame)
        top = y + self.height / 2 - _PADDING
        style: dict[str, Any] = {"fontsize": _TITLE, "fontweight": "bold", "ha": "center"}
        style |= {"va": "center_baseline", "parse_math": False, "in_layout": False}
        for number, line in enumerate(self.lines):
            axes.text(x, top - (number + 0.5) * _LINE, line, **style)
            style |= {"fontsize": _TEXT, "fontweight": "normal"}


@dataclass(eq=False)
class _Cell:
    """What stands together: an operation or variable, its parameters and its way back.

    Attributes:
        name: Its name among all cells.
        forward: The operations, or the variable.
        backward: The nodes that they leave; None where no gradient passes.
        beside: Parameters and labels, one above the other, on the left.
        inputs: The names of the cells before it.
        width, backward_width: How wide `forward` and `backward` are drawn, in inches.
        x, y: Its place, in inches: the middle of `forward`.
    """

    name: str
    forward: _Block
    backward: _Block | None = None
    beside: list[_Block] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    width: float = 0.0
    backward_width: float = 0.0
    x: float = 0.0
    y: float = 0.0

    @property
    def stack_height(self) -> float:
        return sum(block.height for block in self.beside) + _STACK_GAP * (len(self.beside) - 1)

    @property
    def height(self) -> float:
        backward_height = 0.0 if self.backward is None else self.backward.height
        return max(self.stack_height, self.forward.height, backward_height)

    @property
    def backward_x(self) -> float:
        return self.x + self.width / 2 + _BESIDE + self.backward_width / 2

    @property
    def reach(self) -> tuple[float, float]:
        beside = max((block.width + _BESIDE for block in self.beside), default=0.0)
        back = 0.0 if self.backward is None else _BESIDE + self.backward_width
        return self.width / 2 + beside, self.width / 2 + back


def draw(graph: GraphData) -> "Figure":
    """Draws the operations or modules of a graph, what they take, and their way back."""
    cells = _cells(graph)
    # All operations, and all ways back, are as wide as the widest.
    operations = [cell for cell in cells if cell.forward.kind == "forward"]
    width = max(cell.forward.width for cell in operations)
    backward_width = max(cell.backward.width for cell in cells if cell.backward is not None)
    for cell in cells:
        cell.width, cell.backward_width = cell.forward.width, backward_width
    for cell in operations:
        cell.width = width
    rows, routes = rows_and_routes(cells)
    ends = arrange(rows, routes)
    stops = [stop for row in rows for stop in row]
    left = min(stop.x - stop.reach[0] for stop in stops)
    right = max(stop.x + stop.reach[1] for stop in stops)
    heading = f"{graph.model} on a batch of {graph.batch_size}"
    legend = _legend(graph)
    length = sum(block.width + _LEGEND_GAP for block in legend)
    right = max(right, left + length, left + _text_width(heading, _HEADING, bold=True))
    top, bottom = _HEAD, ends[-1][1]
    figure = new_figure(right - left + 2 * _MARGIN, top - bottom + 2 * _MARGIN)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0, h_pad=0)
    # One unit is one inch, so that texts are as wide as they were measured.
    axes = figure.subplots()
    axes.set(xlim=(left - _MARGIN, right + _MARGIN), ylim=(bottom - _MARGIN, top + _MARGIN))
    axes.set_axis_off()
    style: dict[str, Any] = {"fontsize": _HEADING, "fontweight": "bold", "in_layout": False}
    axes.text(left, top, heading, va="top", parse_math=False, **style)
    x = left
    for block in legend:
        block.draw(axes, x + block.width / 2, top - 0.37)
        x += block.width + _LEGEND_GAP
    _draw_routes(axes, routes, rows, ends)
    for cell in cells:
        _draw_cell(axes, cell)
    return figure


def _legend(graph: GraphData) -> list[_Block]:
    named = {
        "forward": "operation, forward ↓",
        "backward": "its backward nodes ↑",
        "parameter": "parameter",
        "batch": "batch",
        "constant": "other tensor",
    }
    kinds = {"forward", "backward"}
    kinds |= {"constant" if v.kind == "buffer" else v.kind for v in graph.variables}
    return [_Block(kind, [text]) for kind, text in named.items() if kind in kinds]


def _cells(graph: GraphData) -> list[_Cell]:
    """A cell for each operation or module, and for each variable that stands alone."""
    variables = {variable.name: variable for variable in graph.variables}
    groups = groups_of(graph)
    cell_of = {o.name: key for key, group in groups.items() for o in group}
    buffers = {variable.name for variable in graph.variables if variable.kind == "buffer"}
    users: dict[str, list[str]] = {}
    for key, group in groups.items():
        for name in dict.fromkeys(name for o in group for name in o.inputs if name in variables):
            users.setdefault(name, []).append(key)
    cells: dict[str, _Cell] = {}
    for key, group in groups.items():
        taken = [name for operation in group for name in operation.inputs]
        before = dict.fromkeys(cell_of[name] for name in taken if name in cell_of)
        inputs = [name for name in before if name != key]
        beside = []
        for name in dict.fromkeys(name for name in taken if name in variables):
            variable = variables[name]
            if variable.kind == "batch" and (not inputs or len(users[name]) > 1):
                alone = f"{name} "  # no operation's name ends in a space
                cells.setdefault(alone, _Cell(alone, _variable_block(variable)))
                inputs.append(alone)
            else:
                beside.append(_variable_block(variable, shared=len(users[name]) > 1))
        if len(beside) > _MOST_BESIDE:
            beside = [_summary_block([variables[name] for name in taken if name in variables])]
        cells[key] = _Cell(
            key, _forward_block(graph, group), _backward_block(group, buffers), beside, inputs
        )
    return list(cells.values())


def groups_of(graph: GraphData) -> dict[str, list[Operation]]:
    """The operations of each box, by a name of its own."""
    operations = graph.operations
    grouped = {operation.name: [operation] for operation in operations}
    if graph.group == "operations" or (graph.group == "auto" and len(operations) <= _MANY):
        return grouped
    holders = {o.layers[:depth] for o in operations for depth in range(len(o.layers))}
    for depth in range(max(len(o.layers) for o in operations), 0, -1):
        grouped = {}
        for operation in operations:
            layers = operation.layers
            # What a layer does between those that it holds stands for itself.
            whole = len(layers) >= depth or layers not in holders
            key = " ".join(map(str, layers[:depth])) if layers and whole else operation.name
            grouped.setdefault(key, []).append(operation)
        if len(grouped) <= _MANY:
            break
    return grouped


def _forward_block(graph: GraphData, group: Sequence[Operation]) -> _Block:
    last = group[-1]
    if len(group) == 1:
        number = "" if last.number is None else f"(·, {last.number:.3g})"
        lines = [f"{last.name}{number}"]
        if last.layers:
            layer = last.layers[-1]
            lines.append(f"{_shortened(layer.name)} {layer.what}")
    else:
        levels = zip(*(operation.layers for operation in group), strict=False)
        layer = [calls[0] for calls in levels if len(set(calls)) == 1][-1]  # the innermost of all
        lines = [_shortened(layer.name), layer.what, counted(len(group), "operation")]
    lines.append(f"→ {_form(last.shape, last.dtype)}")
    if last is graph.operations[-1]:
        lines.append(f"loss {graph.loss:.4g}")
    elif last.values is not None:
        lines.append(str(last.values))
    return _Block("forward", lines, is_loss=last is graph.operations[-1])


def _backward_block(group: Sequence[Operation], buffers: Collection[str]) -> _Block | None:
    last = group[-1]
    if not last.backward:
        return None
    if len(group) == 1:
        lines = list(last.backward[:_MOST_NAMES])
        if len(last.backward) > _MOST_NAMES:
            lines.append(f"and {len(last.backward) - _MOST_NAMES} more")
    else:
        lines = [counted(sum(len(operation.backward) for operation in group), "node")]
    norm = "" if last.gradient_norm is None else f", norm {last.gradient_norm:.3g}"
    lines.append(f"gradient {_form(last.shape)}{norm}")
    shown = last.saved if len(group) == 1 else ()
    kept = [_kept_name(last, n) for n in shown if n not in buffers and n != "inner ()"]
    if len(kept) > _MOST_NAMES:
        kept = [*kept[:_MOST_NAMES], "..."]
    num_bytes = sum(operation.saved_bytes for operation in group)
    if num_bytes:
        kept = [f"{', '.join(kept)} (+{bytes_text(num_bytes)})".lstrip()]
    if kept:
        lines.append(f"keeps {', '.join(kept)}")
    return _Block("backward", lines)


def _kept_name(operation: Operation, name: str) -> str:
    if name == operation.name:
        return "its result"
    return _shortened(name.removeprefix(f"{operation.layer}."))


def _variable_block(variable: Variable, shared: bool = False) -> _Block:
    kind = "constant" if variable.kind == "buffer" else variable.kind
    lines = [_shortened(variable.name), _form(variable.shape, variable.dtype)]
    if shared:
        lines.append("used again" if variable.kind == "constant" else "shared")
    if variable.kind == "parameter" and not variable.requires_grad:
        lines.append("frozen")
    if variable.values is not None:
        lines.append(str(variable.values))
    if variable.gradient_norm is not None:
        lines.append(f"gradient norm {variable.gradient_norm:.3g}")
    return _Block(kind, lines)


def _summary_block(variables: Sequence[Variable]) -> _Block:
    parameters = {v.name: v for v in variables if v.kind == "parameter"}
    num_numbers = sum(math.prod(variable.shape) for variable in parameters.values())
    return _Block("parameter", [counted(len(parameters), "parameter"), f"{num_numbers:,} numbers"])


def _form(shape: Sequence[int], dtype: str = "float32") -> str:
    text = str(tuple(shape)) if shape else "scalar"
    return text if dtype == "float32" else f"{text} {dtype}"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"


def _text_width(text: str, size: float, bold: bool = False) -> float:
    """In inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def _draw_cell(axes: "Axes", cell: _Cell) -> None:
    half = cell.width / 2
    cell.forward.draw(axes, cell.x, cell.y, cell.width)
    if cell.backward is not None:
        cell.backward.draw(axes, cell.backward_x, cell.y, cell.backward_width)
        ends = [cell.x + half, cell.backward_x - cell.backward_width / 2]
        axes.plot(ends, [cell.y, cell.y], ":", color="#777777", linewidth=1)
    y = cell.y + cell.stack_height / 2
    width = max((block.width for block in cell.beside), default=0.0)
    for block in cell.beside:
        y -= block.height / 2
        x = cell.x - half - _BESIDE - width / 2
        block.draw(axes, x, y, width)
        target = min(max(y, cell.y - cell.forward.height / 3), cell.y + cell.forward.height / 3)
        _draw_arrow(axes, [(x + width / 2, y), (cell.x - half, target)], "beside")
        y -= block.height / 2 + _STACK_GAP


def _draw_routes(
    axes: "Axes",
    routes: Sequence[Sequence[Stop]],
    rows: Sequence[Sequence[Stop]],
    ends: Sequence[tuple[float, float]],
) -> None:
    row_of = {id(stop): number for number, row in enumerate(rows) for stop in row}
    for route in routes:
        upper, *bends, lower = route
        if not isinstance(upper, _Cell) or not isinstance(lower, _Cell):
            continue
        leaving = _port(route, [other for other in routes if other[0] is upper], 1)
        coming = _port(route, [other for other in routes if other[-1] is lower], -2)
        passed = [(bend.x, *ends[row_of[id(bend)]]) for bend in bends]
        first, last = ends[row_of[id(upper)]][1], ends[row_of[id(lower)]][0]
        for above, start, below, end, aside in (
            (upper.forward, upper.x, lower.forward, lower.x, -_ASIDE),
            (upper.backward, upper.backward_x, lower.backward, lower.backward_x, _ASIDE),
        ):
            if above is None or below is None:
                continue
            x = leaving + start
            points = [(x, upper.y - above.height / 2), (x, first)]
            for middle, top, bottom in passed:
                points += [(middle + aside, top), (middle + aside, bottom)]
            x = coming + end
            points += [(x, last), (x, lower.y + below.height / 2)]
            is_back = above.kind == "backward"
            _draw_arrow(axes, points[::-1] if is_back else points, above.kind)


def _port(route: Sequence[Stop], siblings: list[Sequence[Stop]], index: int) -> float:
    """How far from the middle of a box an edge ends, so that several do not end in one point."""
    siblings = sorted(siblings, key=lambda sibling: sibling[index].x)
    place = next(place for place, sibling in enumerate(siblings) if sibling is route)
    return 0.16 * (place - (len(siblings) - 1) / 2)


def _draw_arrow(axes: "Axes", points: Sequence[tuple[float, float]], kind: str) -> None:
    """Draws an arrow through points, straight down or else in bows that begin and end upright."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    # An end of no length would hide the arrow's head.
    points = list(dict.fromkeys((round(x, 4), round(y, 4)) for x, y in points))
    vertices, codes = [points[0]], [Path.MOVETO]
    for (x, y), (to_x, to_y) in pairwise(points):
        if kind == "beside" or x == to_x:
            vertices.append((to_x, to_y))
            codes.append(Path.LINETO)
        else:
            middle = (y + to_y) / 2
            vertices += [(x, middle), (to_x, middle), (to_x, to_y)]
            codes += [Path.CURVE4] * 3
    color = _COLORS["backward" if kind == "backward" else "forward"][1]
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 7, "linewidth": 0.9}
    style |= {"color": color, "linestyle": "--" if kind == "backward" else "-"}
    path = Path(vertices, codes)
    axes.add_patch(FancyArrowPatch(path=path, shrinkA=0, shrinkB=0, **style))
