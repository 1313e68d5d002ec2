"""The training loss of a model as a function of what it trains, over a sample of the examples."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from gradbook.checks import check_whole_number
from gradbook.data import KeptBatches, TensorLoader
from gradbook.errors import ModelError
from gradbook.experiments.trial import example_of
from gradbook.lookalikes import parameters_of
from gradbook.resume.loader import batch_sizes, takes_all
from gradbook.tensors import copy_batch, to_device

#: As many examples are taken as make one Hessian-vector product cost about a second: their number
#: times that of the parameters. Of Fashion-MNIST a softmax regression gets all, an MLP a sample.
_CHEAP = 2**31
#: Inputs that go through the network together, as numbers.
_CHUNK_NUMBERS = 2**20


class Landscape:
    """The training loss of a model, which it may change, as a function of what that trains.

    Attributes:
        parameters: The tensors that are trained, by name.
        num_examples: The number of examples; given as None, it is chosen.
        num_available: How many there are; None if that is not known.
        notes: What the figures depend on, in words.
    """

    def __init__(self, model: Any, loader: Any, num_examples: int | None, seed: int) -> None:
        check_whole_number(seed, "seed", at_least=0)
        self.parameters = {n: p for n, p in parameters_of(model).items() if p.requires_grad}
        if not self.parameters:
            raise ModelError(
                f"{type(model).__name__} has no parameter that requires a gradient, so its loss "
                f"has no curvature."
            )
        self._model, self._seed = model.eval(), seed
        self._tensors = list(self.parameters.values())
        self._device = self._tensors[0].device
        self._num_numbers = sum(tensor.numel() for tensor in self._tensors)
        if num_examples is None:
            cheap = max(1000, _CHEAP // self._num_numbers)
            unit = 10 ** (len(str(cheap)) - 1)
            wanted = cheap // unit * unit  # its first digit only: 10,551 becomes 10,000
        else:
            wanted = check_whole_number(num_examples, "num_examples", at_least=1)
        is_mean = self._is_mean(loader)
        self._batches, sizes, self.num_available = _sample(loader, wanted, seed, is_mean)
        self.num_examples = sum(sizes)
        # Of a loss that is no mean over its batch, what the training steps give on average.
        weights = sizes if is_mean else [1] * len(sizes)
        self._weights = [weight / sum(weights) for weight in weights]
        self.notes: list[str] = []
        if not is_mean:
            self.notes.append(
                f"its loss depends on the batch's size: it is measured for batches of {max(sizes)}"
            )
        kinds = [type(layer).__name__ for layer in model.modules()]
        if any("Dropout" in kind for kind in kinds):
            self.notes.append("measured without dropout")
        if any("BatchNorm" in kind for kind in kinds):
            self.notes.append("measured with the running statistics of batch normalization")

    def random_vector(self, seed: int) -> torch.Tensor:
        """A random direction in the space of the parameters, a float tensor (n,)."""
        generator = torch.Generator().manual_seed(seed)
        dtype = self._tensors[0].dtype
        return torch.randn(self._num_numbers, generator=generator, dtype=dtype).to(self._device)

    def loss_and_gradient(self, finite: bool = True) -> tuple[float, torch.Tensor]:
        """The loss and its gradient (n,); an error if the loss is to be `finite` and is not."""
        total = 0.0
        gradient: Any = 0
        for weight, loss in self._terms():
            if not loss.requires_grad:
                raise ModelError(
                    f"The loss of {type(self._model).__name__} does not depend on a parameter that "
                    f"requires a gradient. Do not detach it, and compute it as floating point."
                )
            total += weight * loss.item()
            gradient = gradient + weight * self._flat(self._gradients(loss))
        if finite and not math.isfinite(total):
            raise ModelError(
                f"The loss of {type(self._model).__name__} is {total}, so its curvature says "
                f"nothing. Its training has probably diverged: train again with a smaller rate."
            )
        return total, gradient

    def product(self, vector: torch.Tensor) -> torch.Tensor:
        """The Hessian times a vector (n,)."""
        parts = self._shaped(vector)
        total = torch.zeros_like(vector)
        for weight, loss in self._terms():
            gradients = self._gradients(loss, create_graph=True)
            slope = sum((g * part).sum() for g, part in zip(gradients, parts, strict=True))
            if not isinstance(slope, torch.Tensor) or not slope.requires_grad:
                continue  # the loss is linear in the parameters
            try:
                second = self._gradients(slope)
            except RuntimeError as error:
                raise ModelError(no_second_derivative(self._model, str(error))) from error
            total += weight * self._flat(second)
        return total

    def losses_along(self, vector: torch.Tensor, distances: Iterable[float]) -> list[float]:
        """The loss at so many distances along a vector (n,) from here."""
        begin = [tensor.detach().clone() for tensor in self._tensors]
        losses = []
        for distance in distances:
            self.move(vector, distance)
            with torch.no_grad():
                losses.append(sum(weight * loss.item() for weight, loss in self._terms()))
                for tensor, before in zip(self._tensors, begin, strict=True):
                    tensor.copy_(before)
        return losses

    def move(self, vector: torch.Tensor, distance: float) -> None:
        """Moves the parameters by `distance` times a vector (n,)."""
        with torch.no_grad():
            for tensor, part in zip(self._tensors, self._shaped(vector), strict=True):
                tensor.add_(part, alpha=distance)

    def by_name(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """A vector (n,) as a tensor for each parameter."""
        return dict(zip(self.parameters, self._shaped(vector), strict=True))

    def _terms(self) -> Iterator[tuple[float, torch.Tensor]]:
        """The weight and the loss of each batch. Every pass draws the same random numbers."""
        torch.manual_seed(self._seed)
        for weight, batch in zip(self._weights, self._batches, strict=True):
            yield weight, self._loss(to_device(batch, self._device))

    def _loss(self, batch: Any) -> torch.Tensor:
        loss: torch.Tensor = self._model.loss(self._model(*batch[:-1]), batch[-1])
        return loss.reshape(())

    def _gradients(self, y: torch.Tensor, create_graph: bool = False) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(
            y, self._tensors, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )

    def _flat(self, tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])

    def _shaped(self, vector: torch.Tensor) -> list[torch.Tensor]:
        parts = torch.split(vector, [tensor.numel() for tensor in self._tensors])
        return [part.view_as(like) for part, like in zip(parts, self._tensors, strict=True)]

    def _is_mean(self, loader: Any) -> bool:
        """Whether the loss of a batch stays the same when all its examples come twice."""
        batch = to_device(example_of(loader), self._device)
        if not all(isinstance(item, torch.Tensor) and item.dim() for item in batch):
            return False
        batch = [item[:32] for item in batch]
        with torch.no_grad():
            once = self._loss(copy_batch(batch)).item()
            twice = self._loss([torch.cat([item, item]) for item in batch]).item()
        return not math.isfinite(once) or math.isclose(once, twice, rel_tol=1e-3, abs_tol=1e-12)


def _sample(
    loader: Any, wanted: int, seed: int, is_mean: bool
) -> tuple[Any, list[int], int | None]:
    """So many examples of a loader, in the same batches in every pass.

    Of a loss that is a mean, the batches may be of any size, and large ones are faster.
    Given with them are their sizes, and how many examples there are; None if that is not known.
    """
    batches: Any = KeptBatches()
    sizes: list[int] = []
    in_memory = isinstance(loader, TensorLoader)
    if not in_memory and not takes_all(loader):
        for batch in loader:
            batches.append(batch)
            sizes.append(len(batch[-1]))
            if sum(sizes) >= wanted:
                break
        return batches, sizes, sum(batch_sizes(loader)) or None
    available = len(loader.tensors[-1] if in_memory else loader.dataset)
    rows = None  # all
    if wanted < available:
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(available, generator=generator)[:wanted].sort().values
    if in_memory:
        tensors = loader.tensors
        if rows is not None:
            tensors = tuple(tensor[rows.to(tensor.device)] for tensor in tensors)
        size = loader.batch_size
        if is_mean:
            first = loader.first()
            numbers = sum(item.numel() for item in first[:-1]) // len(first[-1])
            size = min(len(tensors[-1]), max(1, _CHUNK_NUMBERS // max(1, numbers)))
        batches = TensorLoader(tensors, size, transform=loader.transform)
    else:
        dataset = loader.dataset if rows is None else Subset(loader.dataset, rows.tolist())
        batches = DataLoader(dataset, loader.batch_size, collate_fn=loader.collate_fn)
    return batches, batch_sizes(batches), available


def examples_text(num_examples: int, num_available: int | None) -> str:
    """Of how many examples something was measured, in words; None if their number is not known."""
    if num_available == num_examples:
        return f"measured on all {num_examples:,} training examples"
    of = "" if num_available is None else f" of {num_available:,}"
    return f"measured on {num_examples:,}{of} training examples"


def no_second_derivative(model: Any, said: str) -> str:
    """What to say of a model whose loss PyTorch cannot differentiate twice."""
    return (
        f"{type(model).__name__} has a part without a second derivative in PyTorch, so that its "
        f"Hessian cannot be computed. PyTorch says: {said}"
    )
