"""The layout of a directed graph without circles: nodes in rows, edges from each row to the next.

Sugiyama, Tagawa and Toda (1981), "Methods for Visual Understanding of Hierarchical System
Structures". Rows by the longest path, few crossings by barycenters, then places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from statistics import fmean
from typing import Protocol

#: Gaps between rows and between what stands in a row, in inches.
_ROW_GAP, _BETWEEN = 0.3, 0.45


class Node(Protocol):
    """What is laid out, in inches, with y upward; `inputs` names the nodes before it."""

    name: str
    inputs: list[str]
    x: float
    y: float

    @property
    def height(self) -> float:
        """In inches."""

    @property
    def reach(self) -> tuple[float, float]:
        """How far it reaches to the left and to the right of its place."""


@dataclass(eq=False)
class Bend:
    """Where an edge passes a row on its way to a later one."""

    x: float = 0.0
    reach: tuple[float, float] = (0.1, 0.1)


Stop = Node | Bend


def rows_and_routes(nodes: Sequence[Node]) -> tuple[list[list[Stop]], list[list[Stop]]]:
    """The nodes in rows, and the way of each edge through them, with a bend in each row passed."""
    by_name = {node.name: node for node in nodes}
    row_of = dict.fromkeys(by_name, 0)  # from the last row upward, below 0
    for node in reversed(nodes):  # each node after those that it takes from
        for name in node.inputs:
            row_of[name] = min(row_of[name], row_of[node.name] - 1)
    rows: list[list[Stop]] = [[] for _ in range(1 - min(row_of.values()))]
    for node in nodes:
        rows[row_of[node.name] - 1].append(node)
    routes: list[list[Stop]] = []
    for node in nodes:
        for name in node.inputs:
            route: list[Stop] = [by_name[name]]
            for number in range(row_of[name] + 1, row_of[node.name]):
                route.append(Bend())
                rows[number - 1].append(route[-1])
            routes.append([*route, node])
    _order(rows, routes)
    return rows, routes


def _order(rows: list[list[Stop]], routes: Sequence[Sequence[Stop]]) -> None:
    """Orders each row so that few edges cross."""
    before, after = _neighbors(routes)
    best, fewest = [list(row) for row in rows], _num_crossings(rows, after)
    for neighbors, order in [(before, rows), (after, rows[::-1])] * 4:
        for row in order:
            places = {id(stop): place for each in rows for place, stop in enumerate(each)}
            centers = {
                id(stop): fmean(places[id(other)] for other in neighbors.get(id(stop), [stop]))
                for stop in row
            }
            row.sort(key=lambda stop: centers[id(stop)])
        crossings = _num_crossings(rows, after)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _neighbors(
    routes: Sequence[Sequence[Stop]],
) -> tuple[dict[int, list[Stop]], dict[int, list[Stop]]]:
    before: dict[int, list[Stop]] = {}
    after: dict[int, list[Stop]] = {}
    for route in routes:
        for upper, lower in pairwise(route):
            after.setdefault(id(upper), []).append(lower)
            before.setdefault(id(lower), []).append(upper)
    return before, after


def _num_crossings(rows: Sequence[Sequence[Stop]], after: Mapping[int, Sequence[Stop]]) -> int:
    crossings = 0
    for row, following in pairwise(rows):
        places = {id(stop): place for place, stop in enumerate(following)}
        edges = [
            (place, places[id(lower)])
            for place, upper in enumerate(row)
            for lower in after.get(id(upper), [])
        ]
        crossings += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(edges, 2))
    return crossings


def arrange(
    rows: Sequence[Sequence[Stop]], routes: Sequence[Sequence[Stop]]
) -> list[tuple[float, float]]:
    """Gives every node and bend its place; returns the upper and the lower end of each row."""
    ends, top = [], 0.0
    for row in rows:
        nodes = [stop for stop in row if not isinstance(stop, Bend)]
        height = max(node.height for node in nodes)
        ends.append((top, top - height))
        for node in nodes:
            node.y = top - height / 2
        top -= height + _ROW_GAP
    before, after = _neighbors(routes)
    for neighbors, order in [(before, rows), (after, rows[::-1])] * 4 + [(before, rows)]:
        for row in order:
            wanted = [fmean(o.x for o in neighbors.get(id(stop), [stop])) for stop in row]
            gaps = [a.reach[1] + b.reach[0] + _BETWEEN for a, b in pairwise(row)]
            for stop, x in zip(row, spread(wanted, gaps), strict=True):
                stop.x = x
    return ends


def spread(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places nearest to those wanted, in their order, with at least `gaps` between them.

    Nearest in squares: the pool-adjacent-violators algorithm, Barlow et al. (1972), sec. 1.2.
    """
    offsets = list(accumulate(gaps, initial=0.0))
    pools: list[tuple[float, int]] = []  # a mean, and of how many
    for place, offset in zip(wanted, offsets, strict=True):
        mean, count = place - offset, 1
        while pools and pools[-1][0] > mean:
            other, number = pools.pop()
            mean, count = (mean * count + other * number) / (count + number), count + number
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
