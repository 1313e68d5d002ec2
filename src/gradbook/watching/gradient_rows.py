"""A row of a gradient report: what a layer was like in an epoch. Reading one needs no PyTorch."""

import math
from dataclasses import dataclass

#: A sigmoid or tanh is saturated where its slope is below this part of its largest.
FLAT = 0.05
#: The functions whose units are called saturated where they are flat; others are called dead.
SATURATING = ("sigmoid", "tanh", "hardtanh")


@dataclass(frozen=True)
class LayerRow:
    """One layer in one epoch: means over the steps that were sampled.

    What could not be seen is NaN: a gradient of a frozen layer, the activations of a model that
    is compiled.

    Attributes:
        epoch: The epoch, from 1.
        layer: Where it is in the model, as "net.1", or its parameter's name, as "W1".
        kind: Its class, as "Linear"; "" for a parameter of the model's own.
        num_weights: The elements of its parameters.
        is_matrix: Whether it has a parameter of two or more dimensions.
        num_steps: The steps sampled.
        grad_norm: The Euclidean norm of its gradient before clipping.
        weight_norm: That of its parameters.
        update_ratio: The norm of a step's change divided by that of the parameters.
        activation_rms: The root mean square of its output, after the activation function.
        function: The activation function that follows it, of those that docs/gradients.md names,
            as "relu"; or "".
        num_units: The outputs of that function for an example, or its channels.
        num_examples: For how many examples they were looked at, toward the end of the epoch.
        dead: The part of the units whose ReLU, or the like, was flat for all of these examples.
        saturated: The part of the units whose sigmoid, tanh or Hardtanh had less than 5% of its
            largest slope for most of these examples.
    """

    epoch: int
    layer: str
    kind: str
    num_weights: int
    is_matrix: bool
    num_steps: int
    grad_norm: float
    weight_norm: float
    update_ratio: float
    activation_rms: float
    function: str
    num_units: int
    num_examples: int
    dead: float
    saturated: float

    @property
    def grad_rms(self) -> float:
        """The gradient's root mean square over the weights: layers of any width compare."""
        return self.grad_norm / math.sqrt(self.num_weights)

    @property
    def title(self) -> str:
        """The layer and its class."""
        return f"{self.layer} ({self.kind})" if self.kind else self.layer
