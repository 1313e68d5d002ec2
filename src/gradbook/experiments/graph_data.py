"""What a computational graph holds."""

from dataclasses import dataclass
from typing import Literal

from gradbook.experiments.recording import LayerCall, Values, Variable

Group = Literal["auto", "operations", "modules"]


@dataclass(frozen=True)
class Operation:
    """One function of PyTorch, as the model's code calls it.

    Attributes:
        name: The function, with a number from the second call on: "relu", "relu_2".
        function: The function alone; with a "_" at its end if it works in place.
        number: The number that it is given beside a tensor, as the 2 in `X ** 2`, or None.
        layers: The calls of layers in which it runs, the outermost first.
        inputs: The names of the operations and variables that it takes.
        parameters: Those of them that are parameters.
        shape: The shape of its result; of its first one if there are several.
        dtype: The dtype of that.
        backward: The nodes of the backward graph that it leaves, in the order in which they run,
            such as "ReluBackward0". There are none where no gradient passes.
        saved: What it keeps for the backward pass: its own name for its result, the names of its
            inputs, and the shape of what exists only inside it, as "inner (256, 10)".
        saved_bytes: The memory of what is kept because of it: of what is in `saved`, but is no
            variable, and was not kept by an operation before it.
        values: A summary of the result's values, if it was asked for.
        gradient_norm: The norm of the loss's gradient with respect to its result, if it was asked
            for; None where no gradient comes.
        gradient: A summary of that gradient.
    """

    name: str
    function: str
    number: float | None
    layers: tuple[LayerCall, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    backward: tuple[str, ...]
    saved: tuple[str, ...]
    saved_bytes: int
    values: Values | None = None
    gradient_norm: float | None = None
    gradient: Values | None = None

    @property
    def layer(self) -> str:
        """The name of the innermost layer in which it runs; empty outside all layers."""
        return self.layers[-1].name if self.layers else ""


@dataclass(frozen=True, repr=False, eq=False)
class GraphData:
    """The operations that lead from a batch to the loss, and the tensors that they take.

    Attributes:
        model: The name of the model's class.
        batch_size: The number of examples in the batch.
        operations: The operations that the loss depends on, in the order in which they ran.
        variables: The tensors that these begin with: batch, parameters, buffers and constants.
        loss: The loss.
        group: What the figure has a box for: "auto", "operations" or "modules".
    """

    model: str
    batch_size: int
    operations: tuple[Operation, ...]
    variables: tuple[Variable, ...]
    loss: float
    group: Group = "auto"
