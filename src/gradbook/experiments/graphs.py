"""The computational graph of a model's loss: what is computed forward, and what follows backward.

Book: 5.3 (sec_backprop).
"""

import math
from dataclasses import asdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from gradbook.checks import check_choice
from gradbook.display.finding import Finding
from gradbook.display.words import bytes_text, counted
from gradbook.experiments.graph_data import GraphData, Group, Operation
from gradbook.experiments.graph_picture import draw
from gradbook.experiments.recording import Recorder, Variable
from gradbook.experiments.trial import batch_size_of, trial_of
from gradbook.interrupts import interruptible
from gradbook.table import data_frame

if TYPE_CHECKING:
    import networkx
    import pandas
    from matplotlib.figure import Figure


class ComputationGraph(GraphData, Finding):
    """The operations that lead from a batch to the loss, and their way back.

    `GraphData` lists its attributes.
    """

    @property
    def parameters(self) -> tuple[Variable, ...]:
        """The variables that are parameters."""
        return tuple(variable for variable in self.variables if variable.kind == "parameter")

    @property
    def saved_bytes(self) -> int:
        """The memory of all results that are kept for the backward pass, each counted once."""
        return sum(operation.saved_bytes for operation in self.operations)

    @property
    def longest_path(self) -> tuple[str, ...]:
        """The names of the operations on the longest path from a variable to the loss."""
        paths: dict[str, tuple[str, ...]] = {}
        for operation in self.operations:
            before = [paths[name] for name in operation.inputs if name in paths]
            paths[operation.name] = (*max(before, key=len, default=()), operation.name)
        return paths[self.operations[-1].name]

    def _words(self) -> str:
        operations, parameters = self.operations, self.parameters
        num_numbers = sum(math.prod(variable.shape) for variable in parameters)
        with_gradient = [operation for operation in operations if operation.backward]
        num_nodes = sum(len(operation.backward) for operation in operations)
        loss = "" if math.isnan(self.loss) else f"; the loss is {self.loss:.4g}"
        lines = [
            f"{self.model} on a batch of {self.batch_size}{loss}",
            f"  forward     {counted(len(operations), 'operation')}, "
            f"{len(self.longest_path)} of them on the longest path",
            f"  parameters  {counted(len(parameters), 'tensor')} with {num_numbers:,} numbers",
            f"  backward    {counted(num_nodes, 'node')}, for {len(with_gradient)} of the "
            f"{counted(len(operations), 'operation')}",
        ]
        saved = f"  saved       {bytes_text(self.saved_bytes)} for the backward pass"
        most = max(operations, key=lambda operation: operation.saved_bytes)
        if most.saved_bytes:
            where = f" in {most.layer}" if most.layer else ""
            saved += f"; {most.name}{where} uses most, {bytes_text(most.saved_bytes)}"
        lines.append(saved)
        norms = [(o.gradient_norm, o.name) for o in operations if o.gradient_norm is not None]
        if norms:
            norms.sort(key=itemgetter(0))
            (low, low_name), (high, high_name) = norms[0], norms[-1]
            lines.append(
                f"  gradients   norms from {low:.3g} at {low_name} to {high:.3g} at {high_name}"
            )
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """The graph as plain values, for JSON."""
        operations = [{**_plain(o), "layers": list(map(str, o.layers))} for o in self.operations]
        return {
            **self._plain("model", "batch_size", "loss", "saved_bytes", "longest_path"),
            "operations": operations,
            "variables": list(map(_plain, self.variables)),
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """The operations as a DataFrame, a row each, indexed by "name"."""
        rows = []
        for operation in self.operations:
            row = {**_plain(operation), "layer": operation.layer}
            del row["layers"], row["values"], row["gradient"]
            rows.append({**row, **(operation.values._asdict() if operation.values else {})})
        return data_frame(rows, "name")

    def to_networkx(self) -> "networkx.DiGraph":
        """The forward graph: a node for each operation and variable, an edge for each use.

        The node named "relu" has an attribute for each field of its `Operation` or `Variable`.
        """
        import networkx as nx

        graph = nx.DiGraph()
        graph.add_nodes_from((each.name, vars(each)) for each in self.variables + self.operations)
        for operation in self.operations:
            graph.add_edges_from((name, operation.name) for name in operation.inputs)
        return graph

    def figure(self) -> "Figure":
        """Draws the graph: forward from top to bottom, backward beside it from bottom to top."""
        return draw(self)


@interruptible()
def graph(
    model: Any, batch: Any, *, group: Group = "auto", values: bool = False, gradients: bool = False
) -> ComputationGraph:
    """The computational graph of a model's loss on one batch, forward and backward.

    The network and the loss are run once in training mode, and every function of PyTorch that
    they call is noted. What the loss does not depend on is left out. All of it happens to a copy:
    the model is left as it is, and so are the random generators. Layers that have no shape yet
    get one in the copy.

    Book: 5.3.2 (the figure of forward propagation), 5.3.3.

    Args:
        model: The model, with a `loss(y_hat, y)` of one element.
        batch: The inputs and then the labels, as a list or tuple; or a DataModule or an iterable
            of batches, of which the first is taken.
        group: What the figure has a box for: "operations", or "modules", which are the calls of
            layers, the outer ones if there are too many of the inner. "auto" draws up to 40
            operations, and then modules.
        values: Whether to keep the smallest, mean and largest value of every result, and its norm.
        gradients: Whether to compute the same of the gradient with respect to every result and
            parameter.

    Returns:
        The graph, with words and a figure.

    Raises:
        ModelError: If the model is none, cannot be copied, or has no loss to differentiate.
        BatchError: If the batch does not fit it.
        DataError: If there is no batch.
        ConfigError: If `group` is none of the three.
    """
    check_choice(group, "group", ("auto", "operations", "modules"))
    with trial_of(model, batch) as (trial, tensors):
        recorder = Recorder(trial, tensors, values)
        loss, rows = recorder.run(gradients)
    used = {name for row in rows for name in row.inputs}
    parameters = {name for name, v in recorder.variables.items() if v.kind == "parameter"}
    return ComputationGraph(
        model=type(model).__name__,
        batch_size=batch_size_of(tensors),
        operations=tuple(
            Operation(
                name=row.name,
                function=row.function,
                number=row.number,
                layers=row.layers,
                inputs=tuple(row.inputs),
                parameters=tuple(name for name in row.inputs if name in parameters),
                shape=row.shape,
                dtype=row.dtype,
                backward=row.backward,
                saved=row.kept,
                saved_bytes=row.new_bytes,
                values=row.values,
                gradient_norm=row.gradient_norm,
                gradient=row.gradient,
            )
            for row in rows
        ),
        variables=tuple(v for name, v in recorder.variables.items() if name in used),
        loss=math.nan if loss.is_meta else loss.item(),
        group=group,
    )


def _plain(item: Operation | Variable) -> dict[str, Any]:
    plain = asdict(item)
    for name in ("values", "gradient"):
        summary = getattr(item, name)
        plain[name] = None if summary is None else summary._asdict()
    return plain
