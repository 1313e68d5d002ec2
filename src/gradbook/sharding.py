"""A model of which each of several processes holds a part, for one that does not fit on a device.

PyTorch's `fully_shard` does it: every rank keeps its rows of each parameter, of its gradient and of
what the optimizer keeps for it. Of a layer whose turn it is, the ranks gather the whole, and let go
of it afterwards.

Of `torch.distributed` only this file, `shards.py` and `distributed.py` know.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from gradbook import shards
from gradbook.errors import (
    ConfigError,
    MissingExtraError,
    ModelError,
    told,
)
from gradbook.lookalikes import held_by, layers_of
from gradbook.parts import is_sharded, part_here, whole

#: A layer is gathered as one that has at most such a part of a model's numbers; of a larger one,
#: the layers in it are. What has less than `SMALL` of them is gathered with the model itself.
LARGE, SMALL = 1 / 8, 1 / 1000

#: The layers of PyTorch in which layers may be gathered one by one. Others use what is in them.
_CONTAINERS = (
    *(nn.Sequential, nn.ModuleList, nn.ModuleDict),
    *(nn.Transformer, nn.TransformerEncoder, nn.TransformerDecoder),
)

#: The methods of a model in which its own parameters are whole, beside `forward`.
_STEPS = ("training_step", "validation_step")

#: What stays on a model while it is sharded: these, and what they ask for.
_STAYING = (*_STEPS, "_get_fsdp_state")


def wholes(tensors: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor] | None:
    """The whole of all tensors, on the CPU those that were in parts."""
    if tensors is None:
        return None
    return {n: whole(each).cpu() if is_sharded(each) else each for n, each in tensors.items()}


# Which layers


def units_of(model: nn.Module) -> list[nn.Module]:
    """The layers of a model each of which is gathered as one."""
    sizes = {layer: _num_numbers(layer) for layer in model.modules()}
    total = sizes[model]
    holders: dict[nn.Parameter, set[nn.Module]] = {}
    for layer in model.modules():
        for parameter in layer.parameters(recurse=False):
            holders.setdefault(parameter, set()).add(layer)
    found: list[nn.Module] = []

    def look_into(outer: nn.Module) -> None:
        for layer in outer.children():
            if sizes[layer] < SMALL * total or layer in found:
                continue
            inner = [each for each in layer.children() if sizes[each]]
            is_large = sizes[layer] > LARGE * total and inner and _can_be_parted(layer)
            if is_large or not _can_be_called(layer):
                look_into(layer)
            elif _is_closed(layer, holders):
                found.append(layer)

    look_into(model)
    return found


def _num_numbers(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _can_be_parted(layer: nn.Module) -> bool:
    return not _is_of_pytorch(layer) or isinstance(layer, _CONTAINERS)


def _is_of_pytorch(layer: nn.Module) -> bool:
    return type(layer).__module__.startswith("torch.nn.")


def _can_be_called(layer: nn.Module) -> bool:
    return type(layer).forward is not nn.Module.forward


def _is_closed(layer: nn.Module, holders: Mapping[nn.Parameter, set[nn.Module]]) -> bool:
    """Whether no layer outside shares a parameter with this one."""
    inside_it = set(layer.modules())
    return all(holders[parameter] <= inside_it for parameter in layer.parameters())


def _left_whole(model: nn.Module) -> set[nn.Parameter]:
    """The parameters that each rank keeps whole.

    A single number cannot be parted. One that a list of the model holds besides is used from there,
    where nothing gathers it; one that shares its memory with another tensor would no longer do so;
    hooks are on the tensor, and not on its parts; and sparse gradients cannot be added up by parts.
    """
    seen = {id(parameter): parameter for parameter in model.parameters()}
    listed: set[int] = set()
    sparse: set[nn.Parameter] = set()
    others: list[torch.Tensor] = list(model.buffers())
    for layer in layers_of(model):
        if _is_of_pytorch(layer):
            sparse |= set(layer.parameters(recurse=False)) if _is_sparse(layer) else set()
            continue
        for name, value in vars(layer).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                found = list(_tensors_listed(value))
                listed |= set(map(id, found))
                others += [each for each in found if id(each) not in seen]
    held = Counter(map(_memory_of, (*seen.values(), *others)))
    return {
        p
        for p in seen.values()
        if p.dim() == 0
        or not p.numel()
        or id(p) in listed
        or p in sparse
        or held[_memory_of(p)] > 1
        or p._backward_hooks
        or getattr(p, "_post_accumulate_grad_hooks", None)
    }


def _is_sparse(layer: nn.Module) -> bool:
    return bool(getattr(layer, "sparse", False))


def _memory_of(tensor: torch.Tensor) -> int:
    """What two tensors have in common if they may share values; of none, the tensor itself."""
    is_plain = tensor.layout is torch.strided and not is_lazy(tensor)
    return tensor.untyped_storage().data_ptr() or id(tensor) if is_plain else id(tensor)


def _tensors_listed(value: Any, depth: int = 0) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple | dict) and depth < 3:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors_listed(each, depth + 1)


# While a training runs


class Sharding:
    """A model whose parameters are in parts, for the time of a training.

    Args:
        model: The model, whole and the same on all ranks.
        device: Where each rank keeps its part.
        share: Says how much of the running step's batch this rank has, from 0 to 1.

    Attributes:
        is_kept: Whether a run is kept, with checkpoints.
        kept: Where the parts of a checkpoint of this moment are, and their checksums; None while
            there are none.

    Raises:
        ModelError: If PyTorch cannot part the model.
    """

    def __init__(self, model: nn.Module, device: torch.device, share: Callable[[], float]) -> None:
        fully_shard, register_method, Reduce = _from_pytorch()
        self.kept: dict[str, Any] | None = None
        self.is_kept = False
        self._checkpoints: Callable[[], Path] | None = None
        self._mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        self._layers = [_Layer(layer) for layer in model.modules()]
        left, reduce = _left_whole(model), Reduce(share)
        for parameter in left.symmetric_difference(model.parameters()):
            parameter.data = parameter.data.contiguous()  # or it could not be parted by rows
        try:
            for unit in (*units_of(model), model):
                own = left.intersection(unit.parameters())
                sharded: Any = fully_shard(unit, mesh=self._mesh, ignored_params=own)
                sharded.set_custom_reduce_scatter(reduce)
                _have_changes_kept(sharded)
        except (ValueError, NotImplementedError, RuntimeError) as error:
            for layer in self._layers:
                layer.release()
            raise ModelError(
                f'{type(model).__name__} cannot be trained with strategy="fsdp": {told(error)}'
            ) from error
        root: Any = model
        self.reshard: Callable[[], None] = root.reshard
        for name in filter(partial(hasattr, model), _STEPS):
            register_method(model, name)
        state = root._get_fsdp_state()  # which the steps ask for, and the class below has not
        vars(model)["_get_fsdp_state"] = lambda: state
        model.to(device)  # which makes new parameters of those in parts
        for layer in self._layers:
            layer.note_change()
        self._at_end = ExitStack()
        self._at_end.enter_context(_whole_numbers())
        self._versions = self._versions_of(model)
        self._model = model

    def _versions_of(self, model: nn.Module) -> dict[str, int]:
        """How often each part was changed."""
        return {name: parameter._version for name, parameter in model.named_parameters()}

    def check_optimizer(self, optimizer: Any) -> None:
        """Has an optimizer that holds tensors of both kinds take them one by one.

        Raises:
            ModelError: If it holds a parameter as it was before it was parted, or parameters were
                changed where it was made.
        """
        if self._versions_of(self._model) != self._versions:
            raise ModelError(
                'configure_optimizers changes parameters, which with strategy="fsdp" are in parts '
                "by then, so that random numbers would not be those of one process. Give them "
                "their first values in __init__."
            )
        before = {id(p) for layer in self._layers for p in layer.parted()}
        if any(id(tensor) in before for tensor in held_by(optimizer)):
            raise ModelError(
                'With strategy="fsdp", parameters are replaced by their parts before '
                "configure_optimizers is called, and this optimizer holds what was there before. "
                "Make it there, with self.parameters()."
            )
        for group in getattr(optimizer, "param_groups", ()):
            if len({is_sharded(parameter) for parameter in group["params"]}) == 2:
                group |= {"foreach": False} if "foreach" in group else {}

    def make_whole(self) -> None:
        """Makes the model what it was, with the values of now; all ranks have to be here."""
        self._at_end.close()
        self.reshard()
        for layer in self._layers:
            layer.fill()
        for layer in self._layers:
            layer.release()

    # Checkpoints

    def keep_in(self, checkpoints: Callable[[], Path] | None) -> None:
        """Says that a run is kept; on the first rank, in which folder checkpoints are by now."""
        self.is_kept, self._checkpoints = True, checkpoints

    def keep(self, state: dict[str, Any]) -> None:
        """Writes this rank's part of a state; all ranks have to be here.

        The first rank's next checkpoint says where all parts are, until the next step.

        Raises:
            StorageError: If a file cannot be written.
        """
        self.reshard()
        self.kept = shards.write(state, self._checkpoints)

    def completed(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state with this rank's part of each tensor that it lacks; all ranks have to be here."""
        from torch.distributed import tensor

        def place_for(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
            placements = [tensor.Shard(0)]
            return tensor.zeros(shape, dtype=dtype, device_mesh=self._mesh, placements=placements)

        return shards.completed(state, place_for)


class _Layer:
    """What sharding changes of a layer, and how it is undone."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.Class = layer, type(layer)
        self.attributes = dict(vars(layer))
        self.hooks = {name: set(value) for name, value in self._all_hooks()}
        self.parameters = {n: p for n, p in layer._parameters.items() if p is not None}
        self.devices = {name: parameter.device for name, parameter in self.parameters.items()}
        self.added_hooks: list[tuple[Any, Any]] = []

    def _all_hooks(self) -> list[tuple[str, dict[Any, Any]]]:
        return [
            (name, value)
            for name, value in vars(self.layer).items()
            if isinstance(name, str) and "_hooks" in name and isinstance(value, dict)
        ]

    def note_change(self) -> None:
        """The layer is sharded: it gets its class back, and frees what it had as a whole."""
        self.layer.__class__ = self.Class  # so that it has the name and the methods it had
        for name in [name for name in vars(self.layer) if name not in self.attributes]:
            if name not in _STAYING:  # its hooks hold all that is needed
                del vars(self.layer)[name]
        for name, hooks in self._all_hooks():
            self.added_hooks += [(hooks, key) for key in hooks if key not in self.hooks[name]]
        for name, parameter in self.parameters.items():
            now = self.layer._parameters.get(name)
            if now is not None and now is not parameter:
                vars(now).update(vars(parameter))  # as marks for configure_optimizers
                parameter.data = parameter.data.new_empty(0)

    def parted(self) -> list[nn.Parameter]:
        """The parameters that the layer had, and has in parts now."""
        now = self.layer._parameters
        return [p for name, p in self.parameters.items() if now.get(name) is not p]

    def fill(self) -> None:
        """Gives the layer the parameters that it had, with the values of now."""
        for name, parameter in self.parameters.items():
            now = self.layer._parameters.get(name)
            if now is not None and is_sharded(now):
                if not parameter.numel():  # or another layer that shares it has filled it
                    parameter.data = whole(now.detach()).to(self.devices[name])
                setattr(self.layer, name, parameter)
            else:
                parameter.data = parameter.data.to(self.devices[name])

    def release(self) -> None:
        """Takes away what sharding has hung on the layer."""
        self.layer.__class__ = self.Class
        for hooks, key in self.added_hooks:
            hooks.pop(key, None)
        for name in _STAYING:
            if name not in self.attributes:
                vars(self.layer).pop(name, None)
        for name in _STEPS:
            if name in self.attributes:
                vars(self.layer)[name] = self.attributes[name]
        _module_states().pop(self.layer, None)


# Errors


def is_connection_error(error: BaseException) -> bool:
    """Whether PyTorch could not gather or add up a layer's tensors."""
    is_told_so = isinstance(error, RuntimeError) and "gloo" in str(error)
    return is_told_so or isinstance(error, dist.DistError)


#: What PyTorch says, and what it is about.
_REASONS = {
    "mixed torch.Tensor and DTensor": "uses a parameter where it is in parts",
    "Sharding propagation failed": "computes with a tensor in parts what PyTorch cannot",
    "storage of size 0": "uses a parameter that was let go of, as for the gradient of a gradient",
    "tensor a (0)": "uses a parameter that was replaced by its part",
    "tensor b (0)": "uses a parameter that was replaced by its part",
}


def wrong_use(error: BaseException) -> str | None:
    """What a model or its optimizer does that cannot be done with parts, if the error is that."""
    text = str(error)
    found = (reason for said, reason in _REASONS.items() if said in text)
    return next(found, None) if isinstance(error, RuntimeError | ValueError) else None


class Alone(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it lasts, this rank cannot ask the others, who would not answer.

    What asks for a whole tensor or runs a layer then raises ModelError, instead of waiting for them
    or taking what they have sent for something else.
    """

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op.namespace in ("c10d", "_c10d_functional"):
            raise ModelError(
                'With strategy="fsdp", the first process has only its part of the model, and is '
                "alone where a sink is told something: no layer can compute there, and no norm or "
                "whole of a parameter can be had. Do it in a method of the model, which all "
                "processes run, or after `fit`."
            )
        is_ours = any(hasattr(each, "full_tensor") for each in types)  # then PyTorch's comes next
        return NotImplemented if is_ours else op(*args, **(kwargs or {}))


# What is PyTorch's, and not for all versions


def check_offered(trainer: Any) -> None:
    """Raises ConfigError if a trainer's settings, or this PyTorch, do not allow sharding."""
    apart = {
        "compile=True": trainer.compile,
        'precision="16-mixed"; "bf16-mixed" does': trainer.precision == "16-mixed",
        f"watch={list(trainer.watch)}, which needs the whole model": trainer.watch,
    }
    for what, is_set in apart.items():
        if is_set:
            raise ConfigError(f'strategy="fsdp" does not go together with {what}.')
    if not isinstance(trainer.model, nn.Module):
        raise ModelError(
            f'strategy="fsdp" shards a torch.nn.Module, and {type(trainer.model).__name__} is none.'
        )
    try:
        import safetensors  # noqa: F401
    except ImportError:
        raise MissingExtraError.of("safetensors", 'strategy="fsdp"', "safetensors") from None
    try:
        _from_pytorch()
    except ImportError as error:
        raise ConfigError(
            f'strategy="fsdp" needs a newer PyTorch than {torch.__version__} ({told(error)}): '
            f"pip install --upgrade torch"
        ) from error


@cache
def _from_pytorch() -> tuple[Any, Any, Any]:
    """What shards a layer, what has a method count as `forward`, and how gradients are added."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter  # noqa: F401
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
    from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultReduceScatter

    class ByShare(DefaultReduceScatter):
        """Adds up the gradients of all ranks, each by its share of the batch."""

        def __init__(self, share: Callable[[], float]) -> None:
            self._share = share

        def __call__(
            self, output_tensor: Any, input_tensor: Any, group: Any, op: Any, async_op: bool = False
        ) -> Any:
            weight = self._share() * group.size()  # as PyTorch then takes the mean
            if not weight:
                input_tensor.zero_()  # which a product with NaN is not
            elif weight != 1:
                input_tensor.mul_(weight)
            return super().__call__(output_tensor, input_tensor, group, op, async_op)

    return fully_shard, register_fsdp_forward_method, ByShare


def _have_changes_kept(unit: Any) -> None:
    """Has what a layer changes of its own gathered parameters stay when it lets go of them.

    PyTorch would forget it: a `clamp_` in `forward`, say. Where the part itself was changed
    meanwhile, as by an optimizer, that counts.
    """

    def note(each: Any, before: Callable[[], None]) -> None:
        each.gradbook_version = each.sharded_param._version
        before()

    @torch.no_grad()
    def keep(each: Any, before: Callable[[], None]) -> None:
        gathered = getattr(each, "_unsharded_param", None)
        if gathered is not None and each.sharded_param._version == each.gradbook_version:
            part = each.sharded_param._local_tensor
            rows = -(-gathered.shape[0] // dist.get_world_size())
            begin = min(rows * dist.get_rank(), gathered.shape[0])
            part.copy_(gathered[begin : begin + part.shape[0]])
        before()

    for group in unit._get_fsdp_state()._fsdp_param_groups:
        for each in group.fsdp_params:
            each.gradbook_version = None
            each.to_unsharded = partial(note, each, each.to_unsharded)
            each.to_sharded = partial(keep, each, each.to_sharded)


@contextmanager
def _whole_numbers() -> Iterator[None]:
    """While it lasts, a number that is read from a tensor in parts, as by `item()`, is that of all.

    PyTorch gives each rank what its own part comes to.
    """
    from torch.distributed.tensor import DTensor

    op = torch.ops.aten._local_scalar_dense.default
    handlers: Any = DTensor._op_dispatcher._custom_op_handlers
    handlers[op] = lambda op, args, kwargs: whole(args[0]).item()
    try:
        yield
    finally:
        handlers.pop(op, None)


def _module_states() -> Any:
    """What PyTorch knows of sharded layers; it has no public way back."""
    from torch.distributed._composable_state import _module_state_mapping

    return _module_state_mapping


# Tensors, whole or in parts


def like(own: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A whole tensor on the device of another one; in parts, if that is."""
    if not is_sharded(own) or is_sharded(value):
        return value.to(own.device)
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = own
    return distribute_tensor(
        value.to(own.device), sharded.device_mesh, sharded.placements, src_data_rank=None
    )


def clip_norm(parameters: Iterable[torch.Tensor], max_norm: float) -> None:
    """Clips the norm of all gradients together to at most `max_norm`; some may be in parts."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    kinds = [[g for g in gradients if is_sharded(g) is kind] for kind in (True, False)]
    norms = [whole(torch.nn.utils.get_total_norm(kind)) for kind in kinds if kind]
    factor = (max_norm / (torch.stack(norms).norm() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        part_here(gradient).mul_(factor)
