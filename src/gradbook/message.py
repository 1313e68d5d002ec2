"""What the processes of a training tell each other after a backward pass.

How it is sent, `distributed.py` says.
"""

from collections.abc import Callable, Sequence

import torch

from gradbook.record import Meter

#: So many recorded values go with the gradients of a step; more go by themselves.
MOST_VALUES = 16


class Message:
    """What the ranks tell each other after a backward pass, in memory that is kept.

    For each dtype and device there is one tensor: the gradients, one after the other, and the
    running means. A float32 one has room for the values that were recorded meanwhile and, on the
    CPU, for what the next step depends on. Where there is none, these have tensors of their own,
    that of what the next step depends on in the CPU's memory: so no step has to wait for an
    accelerator.

    Args:
        parameters: Whose gradients these are.
        means: What layers average.
        num_requests: How many things a rank may ask for.
    """

    def __init__(
        self, parameters: Sequence[torch.Tensor], means: Sequence[torch.Tensor], num_requests: int
    ) -> None:
        self._parameters, self._num_requests = parameters, num_requests
        num_told = num_requests + 1 + len(parameters)
        told = values = None
        self._parts: list[_Part] = []
        for kind in dict.fromkeys((each.dtype, each.device) for each in (*parameters, *means)):
            dtype, device = kind
            room = [0, 0]
            if dtype == torch.float32:
                room[0] = num_told if told is None and device.type == "cpu" else 0
                room[1] = MOST_VALUES if values is None else 0
            part = _Part(
                [each for each in parameters if (each.dtype, each.device) == kind],
                [each for each in means if (each.dtype, each.device) == kind],
                room,
            )
            told, values = part.room[0] if room[0] else told, part.room[1] if room[1] else values
            self._parts.append(part)
        self._told = torch.zeros(num_told) if told is None else told
        here = parameters[0].device if parameters else None
        self._values = torch.zeros(MOST_VALUES, device=here) if values is None else values
        self._sent = [part.sent for part in self._parts]
        self._sent += [] if told is not None else [self._told]
        self._sent += [] if values is not None else [self._values]

    @torch.no_grad()
    def exchange(
        self,
        share: float,
        asked: Sequence[bool],
        meters: Sequence[Meter],
        add: Callable[[torch.Tensor], None],
    ) -> tuple[float, list[float]]:
        """Gives gradients, means and values the sum of what the ranks have.

        Args:
            share: That of this rank, by which its gradients and means count.
            asked: What it asks for.
            meters: What has parts of values.
            add: Gives a tensor the sum of all ranks' tensors.

        Returns:
            All shares together, and how many ranks ask for each thing.
        """
        for parameter in self._parameters:
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                parameter.grad = parameter.grad.to_dense()
        lacking = [i for i, each in enumerate(self._parameters) if each.grad is None]
        has_any = [1.0] * len(self._parameters)
        for i in lacking:
            has_any[i] = 0.0
        for part in self._parts:
            part.gather(share)
        self._told.copy_(torch.tensor([*map(float, asked), share, *has_any]))
        parts = [part for meter in meters for part in meter.parts]
        has_room = len(parts) <= MOST_VALUES
        values = self._values[: len(parts)] if has_room else self._values.new_zeros(len(parts))
        if parts:
            values.copy_(_stacked(parts, values.device))
        for sent in self._sent:
            add(sent)
        if not has_room:
            add(values)
        for part in self._parts:
            part.spread()
        give(meters, values.clone())
        n = self._num_requests
        *requests, shares = self._told[: n + 1].tolist()
        if lacking:
            counts = self._told[n + 1 :].tolist()
            for i in lacking:
                if not counts[i]:  # on no rank
                    self._parameters[i].grad = None
        return shares, requests


def _stacked(parts: Sequence[torch.Tensor | float], device: torch.device) -> torch.Tensor:
    """Values as one tensor on a device, an accelerator without waiting for it."""
    if device.type == "cpu" and not all(isinstance(part, torch.Tensor) for part in parts):
        return torch.tensor([float(part) for part in parts])
    return torch.stack(
        [
            part.reshape(()).to(device, non_blocking=device.type != "cpu")
            if isinstance(part, torch.Tensor)
            else torch.full((), part, device=device)  # made there, and not copied
            for part in parts
        ]
    )


def give(meters: Sequence[Meter], sums: torch.Tensor) -> None:
    """Gives meters the sums of all ranks' parts, one after the other."""
    begin = 0
    for meter in meters:
        end = begin + len(meter.parts)
        meter.take_whole(sums[begin:end])
        begin = end


class _Part:
    """The gradients and running means of one dtype and device, as one tensor to be sent.

    Args:
        parameters: Whose gradients these are.
        means: What layers average.
        room: How many further numbers each of `Attributes.room` is to have.

    Attributes:
        sent: The tensor.
        room: Places in it for something else.
    """

    def __init__(
        self,
        parameters: Sequence[torch.Tensor],
        means: Sequence[torch.Tensor],
        room: Sequence[int],
    ) -> None:
        self._parameters, self._means = parameters, means
        every = [*parameters, *means]
        sizes = [each.numel() for each in every]
        n = len(every)
        self.sent = torch.zeros(
            sum(sizes) + sum(room), dtype=every[0].dtype, device=every[0].device
        )
        views = torch.split(self.sent, [*sizes, *room])
        self.room = views[n:]
        shaped = [view.view(each.shape) for view, each in zip(views[:n], every, strict=True)]
        self._own = self.sent[: sum(sizes)]
        self._views, self._mean_views = shaped[: len(parameters)], shaped[len(parameters) :]
        self._known = [mean.clone() for mean in means]

    def gather(self, share: float) -> None:
        """Takes this rank's part; where it counts for nothing, nothing, whatever it is."""
        if not share:
            self._own.zero_()
            return
        views, gradients = [], []
        for view, parameter in zip(self._views, self._parameters, strict=True):
            if parameter.grad is None:
                view.zero_()
            else:
                views.append(view)
                gradients.append(parameter.grad)
        if views:
            torch._foreach_copy_(views, gradients)
        for view, mean, known in zip(self._mean_views, self._means, self._known, strict=True):
            torch.sub(mean, known, out=view)
        self._own.mul_(share)

    def spread(self) -> None:
        """Gives gradients and means what was sent, which is the sum by now."""
        views, gradients = [], []
        for view, parameter in zip(self._views, self._parameters, strict=True):
            if parameter.grad is None:
                parameter.grad = view.clone()
            else:
                views.append(view)
                gradients.append(parameter.grad)
        if views:
            torch._foreach_copy_(gradients, views)
        for view, mean, known in zip(self._mean_views, self._means, self._known, strict=True):
            # What no rank has changed stays as it is to the last bit.
            mean.copy_(known.add_(view))
