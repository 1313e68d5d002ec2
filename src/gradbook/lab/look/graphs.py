"""The computational graph of one batch, laid out, with values and gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradbook.errors import ModelError
from gradbook.experiments.graph_data import Operation
from gradbook.experiments.graph_layout import arrange, rows_and_routes
from gradbook.experiments.graph_picture import groups_of
from gradbook.experiments.graphs import ComputationGraph, graph
from gradbook.experiments.recording import Variable
from gradbook.lab.look.subject import Subject

#: What a node's text needs, in inches: a letter, a line, what is around them, and the most letters.
_LETTER, _LINE, _AROUND, MOST_LETTERS = 0.078, 0.175, 0.2, 28
#: Pixels of the page in an inch, and the most nodes.
_PIXELS, _MOST_NODES = 96, 300


@dataclass(eq=False)
class _Node:
    """What is laid out, in inches: see `graph_layout.Node`."""

    name: str
    inputs: list[str]
    width: float
    height: float
    facts: dict[str, Any]
    x: float = 0.0
    y: float = 0.0

    @property
    def reach(self) -> tuple[float, float]:
        return self.width / 2, self.width / 2


def graph_of(subject: Subject, options: Mapping[str, Any]) -> dict[str, Any]:
    """The graph of the first training batch, with values and gradients."""
    restored = subject.restored
    found = graph(restored.model, restored.data, values=True, gradients=True)
    return {**laid_out(found), "epoch": subject.epoch}


def laid_out(found: ComputationGraph) -> dict[str, Any]:
    """A graph's nodes with their places, and its edges as the points that they pass, in pixels."""
    nodes = _nodes(found)
    if len(nodes) > _MOST_NODES:
        raise ModelError(
            f"The graph of {found.model} has {len(nodes)} nodes, more than can be looked at. "
            f"`gradbook graph` draws it into a file."
        )
    rows, routes = rows_and_routes(nodes)
    arrange(rows, routes)
    stops = [stop for row in rows for stop in row]
    row_of = {id(stop): number for number, row in enumerate(rows) for stop in row}
    for row in rows:  # a bend has no height of its own
        ys = [stop.y for stop in row if isinstance(stop, _Node)]
        for stop in row:
            if not isinstance(stop, _Node):
                vars(stop)["y"] = sum(ys) / len(ys)
    left = min(stop.x - stop.reach[0] for stop in stops)
    right = max(stop.x + stop.reach[1] for stop in stops)
    top = max(node.y + node.height / 2 for node in nodes)
    bottom = min(node.y - node.height / 2 for node in nodes)

    def place(stop: Any) -> tuple[float, float]:
        return round((stop.x - left) * _PIXELS, 1), round((top - stop.y) * _PIXELS, 1)

    placed = []
    for node in nodes:
        x, y = place(node)
        size = {"width": round(node.width * _PIXELS, 1), "height": round(node.height * _PIXELS, 1)}
        placed.append({**node.facts, "x": x, "y": y, **size, "row": row_of[id(node)]})
    return {
        "model": found.model,
        "batch_size": found.batch_size,
        "loss": found.loss,
        "width": round((right - left) * _PIXELS, 1),
        "height": round((top - bottom) * _PIXELS, 1),
        "nodes": placed,
        "edges": [
            {"from": route[0].name, "to": route[-1].name, "points": [place(s) for s in route]}  # type: ignore[union-attr]
            for route in routes
        ],
    }


def _nodes(found: ComputationGraph) -> list[_Node]:
    """A node for each variable and for each operation or module, each after those it takes."""
    groups = groups_of(found)
    key_of = {o.name: key for key, group in groups.items() for o in group}
    key_of |= {variable.name: f"{variable.name} " for variable in found.variables}
    nodes = [_variable_node(key_of[each.name], each) for each in found.variables]
    for key, group in groups.items():
        taken = dict.fromkeys(key_of[name] for o in group for name in o.inputs if name in key_of)
        nodes.append(_operation_node(key, group, [name for name in taken if name != key], found))
    return nodes


def _variable_node(key: str, variable: Variable) -> _Node:
    facts = {
        "name": key,
        "title": variable.name,
        "kind": variable.kind,
        "detail": "" if variable.requires_grad or variable.kind != "parameter" else "frozen",
        "backward": [],
        **_facts(variable),
    }
    return _sized(key, [], facts)


def _operation_node(
    key: str, group: list[Operation], inputs: list[str], found: ComputationGraph
) -> _Node:
    last = group[-1]
    is_single = len(group) == 1
    facts = {
        "name": key,
        "title": last.name if is_single else key,
        "kind": "loss" if last is found.operations[-1] else "operation" if is_single else "module",
        "detail": str(last.layers[-1]) if is_single and last.layers else "",
        "backward": [name for operation in group for name in operation.backward][:20],
        **_facts(last),
    }
    if not is_single:
        facts["detail"] = f"{len(group)} operations"
    return _sized(key, inputs, facts)


def _facts(item: Operation | Variable) -> dict[str, Any]:
    return {
        "shape": list(item.shape),
        "dtype": item.dtype,
        "values": None if item.values is None else item.values._asdict(),
        "gradient": None if item.gradient is None else item.gradient._asdict(),
    }


def _sized(key: str, inputs: list[str], facts: dict[str, Any]) -> _Node:
    shape = " × ".join(map(str, facts["shape"])) or "one number"
    lines = [facts["title"], *([facts["detail"]] if facts["detail"] else []), shape]
    facts["inputs"], facts["lines"] = inputs, lines
    longest = min(MOST_LETTERS, max(map(len, lines)))
    return _Node(key, inputs, longest * _LETTER + _AROUND, len(lines) * _LINE + _AROUND, facts)
