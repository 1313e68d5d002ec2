"""The layout of a directed graph without circles: nodes in rows, edges from each row to the next.

Sugiyama, Tagawa and Toda (1981), "Methods for Visual Understanding of Hierarchical System
Structures". Rows by the longest path, few crossings by barycentres, then places.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from typing import Protocol

#: Gaps between rows and between what stands in a row, in inches.
_ROW_GAP, _BETWEEN = 0.3, 0.45


class Node(Protocol):
    """What is laid out.

    Attributes:
        name: Its name among all nodes.
        inputs: The names of the nodes that an edge leads from.
        x, y: Its place, in inches, with y upward.
    """

    name: str
    inputs: list[str]
    x: float
    y: float

    @property
    def height(self) -> float:
        """In inches."""


@dataclass(eq=False)
class Bend:
    """Where an edge passes a row on its way to a later one."""

    x: float = 0.0


Stop = Node | Bend


def rows_and_routes(nodes: Sequence[Node]) -> tuple[list[list[Stop]], list[list[Stop]]]:
    """The nodes in rows, and the way of each edge through them, with a bend in each row passed."""
    by_name = {node.name: node for node in nodes}
    above_end = dict.fromkeys(by_name, 0)
    for node in reversed(nodes):  # each node after those that it takes from
        for name in node.inputs:
            above_end[name] = max(above_end[name], above_end[node.name] + 1)
    last = max(above_end.values())
    rows: list[list[Stop]] = [[] for _ in range(last + 1)]
    for node in nodes:
        rows[last - above_end[node.name]].append(node)
    routes: list[list[Stop]] = []
    for node in nodes:
        end = last - above_end[node.name]
        for name in node.inputs:
            bends = [Bend() for _ in range(last - above_end[name] + 1, end)]
            for number, bend in enumerate(bends):
                rows[end - len(bends) + number].append(bend)
            routes.append([by_name[name], *bends, node])
    _order(rows, routes)
    return rows, routes


def _order(rows: list[list[Stop]], routes: Sequence[Sequence[Stop]]) -> None:
    """Orders each row so that few edges cross."""
    before, after = _neighbours(routes)
    best, fewest = [list(row) for row in rows], _num_crossings(rows, after)
    for sweep in range(8):
        down = sweep % 2 == 0
        neighbours = before if down else after
        for row in rows if down else reversed(rows):
            places = {id(stop): place for each in rows for place, stop in enumerate(each)}
            centres = {}
            for stop in row:
                near = [places[id(other)] for other in neighbours.get(id(stop), [stop])]
                centres[id(stop)] = sum(near) / len(near)
            row.sort(key=lambda stop: centres[id(stop)])
        crossings = _num_crossings(rows, after)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _neighbours(
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
    rows: Sequence[Sequence[Stop]],
    routes: Sequence[Sequence[Stop]],
    reach: Callable[[Stop], tuple[float, float]],
) -> list[tuple[float, float]]:
    """Gives every node and bend its place.

    Args:
        rows: The nodes and bends in rows, as `rows_and_routes` gives them.
        routes: The ways of the edges, likewise.
        reach: How far a node or bend reaches to the left and to the right of its place.

    Returns:
        The upper and the lower end of each row.
    """
    ends, top = [], 0.0
    for row in rows:
        height = max(stop.height for stop in row if not isinstance(stop, Bend))
        ends.append((top, top - height))
        for stop in row:
            if not isinstance(stop, Bend):
                stop.y = top - height / 2
        top -= height + _ROW_GAP
    before, after = _neighbours(routes)
    for neighbours, order in [(before, rows), (after, rows[::-1])] * 4 + [(before, rows)]:
        for row in order:
            wanted = []
            for stop in row:
                near = [other.x for other in neighbours.get(id(stop), [])]
                wanted.append(sum(near) / len(near) if near else stop.x)
            reaches = [reach(stop) for stop in row]
            gaps = [a[1] + b[0] + _BETWEEN for a, b in pairwise(reaches)]
            for stop, x in zip(row, spread(wanted, gaps), strict=True):
                stop.x = x
    return ends


def spread(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places nearest to those wanted, in their order, with at least `gaps` between them.

    Nearest in squares: the pool-adjacent-violators algorithm, Barlow et al. (1972), sec. 1.2.

    Args:
        wanted: n places.
        gaps: n - 1 distances, each between a place and the next.
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
