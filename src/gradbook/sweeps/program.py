"""A function of tensors as a fixed list of PyTorch's operations, without Python between them.

A step of several small models costs mostly what lies around the arithmetic: PyTorch's dispatch,
the autograd graph, and many small matrix products where one large one would do. So the step is
traced once, with its gradients, into the operations that it comes to; these are rewritten into
fewer and larger ones; and what is left is run over and over, each operation writing into memory
that it keeps.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten

#: Operations that only look at a tensor in another way.
_VIEWS = {
    *(aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.permute.default),
    *(aten.transpose.int, aten.t.default, aten.unsqueeze.default, aten.squeeze.dim),
    *(aten.squeeze.dims, aten.select.int, aten.slice.Tensor, aten.detach.default),
    *(aten.alias.default, aten.reshape.default),
}
_TRANSPOSITIONS = (aten.transpose.int, aten.permute.default, aten.t.default)
_SOFTMAXES = (aten._log_softmax.default, aten._softmax.default)
_SOFTMAX_GRADIENTS = (aten._log_softmax_backward_data.default, aten._softmax_backward_data.default)

#: A matrix product whose rows are shorter than this wastes most of what the processor can do.
_SHORTEST_ROW = 16
_MOST_PASSES = 8


class CannotTrace(RuntimeError):  # noqa: N818 - no error: the training goes on alone
    """Why a function's operations are no fixed list, as the end of a sentence."""


class Program:
    """The operations that `function` comes to for inputs of these shapes.

    A call takes tensors of the same shapes and layouts, and returns the results of `function` in
    one list. They are valid until the next call, which writes into the same memory.

    Args:
        function: A pure function of tensors that returns a list of tensors. It must do the same
            operations whatever the values are.
        inputs: Example inputs.

    Attributes:
        source: The program as text.
        transposed: The indices of those inputs, of shape (k, n, m), that had better lie in memory
            as (k, m, n), because the program would copy them otherwise.

    Raises:
        CannotTrace: If the operations write into what they are given, or depend on chance or on
            values.
        Exception: If the function cannot be traced, as where it looks at a value.
    """

    def __init__(
        self, function: Callable[..., Sequence[torch.Tensor]], inputs: Sequence[torch.Tensor]
    ) -> None:
        with _in_small_operations(), torch.enable_grad():
            module = make_fx(functionalize(function))(*inputs)
            if _writing(module.graph):  # what `vmap` leaves, no `vmap` stands in the way of now
                module = make_fx(functionalize(module))(*inputs)
        for name in _writing(module.graph):
            raise CannotTrace(f"its steps write into a tensor in place ({name})")
        for node in module.graph.nodes:
            is_operation = isinstance(node.target, torch._ops.OpOverload)
            if is_operation and torch.Tag.nondeterministic_seeded in node.target.tags:
                raise CannotTrace(f"its steps draw random numbers ({node.target._opname})")
        self._traced = module
        self.lay_out(inputs)

    def lay_out(self, inputs: Sequence[torch.Tensor]) -> None:
        """Has it take inputs that lie in memory as these do. Nothing is traced again."""
        module = fx.GraphModule(self._traced, copy.deepcopy(self._traced.graph))
        graph = module.graph
        for _ in range(_MOST_PASSES):
            graph.eliminate_dead_code()
            _evaluate(module, inputs)
            for node in graph.nodes:
                if _has_free_shape(node):
                    raise CannotTrace("a shape in its steps depends on values, as with a mask")
            if not _rewrite(graph):
                break
        self.transposed = _copied_inputs(graph)
        self._run, self.source = _compiled(module)

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Runs it on tensors like the example inputs."""
        results: list[torch.Tensor] = self._run(*inputs)
        return results


@contextmanager
def _in_small_operations() -> Iterator[None]:
    """While it lasts, layers compute in small operations what PyTorch else does in a single one.

    Several models at once can take the small ones, and not those of recurrent layers, of attention
    and of whole layers of a transformer.
    """
    switches: list[tuple[Any, Any]] = [
        (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
        # Not by `torch.backends`, which reads and sets more than this.
        (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
        (torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
    ]
    before = [read() for read, _ in switches]
    try:
        for _, switch in switches:
            switch(False)
        # What a step warns of, it has said before.
        with warnings.catch_warnings(action="ignore"), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for (_, switch), value in zip(switches, before, strict=True):
            switch(value)


def _writing(graph: fx.Graph) -> list[str]:
    """The names of the operations that write into what they are given."""
    targets = [node.target for node in graph.nodes]
    operations = [target for target in targets if isinstance(target, torch._ops.OpOverload)]
    return [target._opname for target in operations if target._schema.is_mutable]


def _evaluate(module: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> None:
    """Notes at each node what it gives for the example inputs."""
    # Not by `run`, whose progress bar starts a thread even where it is not shown.
    interpreter = fx.Interpreter(module, garbage_collect_values=False)
    interpreter.args_iter = iter(inputs)
    with torch.no_grad():
        for node in module.graph.nodes:
            try:
                value = interpreter.run_node(node)
            except RuntimeError:
                if node.target is not aten.view.default:
                    raise
                node.target = aten.reshape.default  # it lies otherwise in memory than when traced
                value = interpreter.run_node(node)
            node.meta["value"] = interpreter.env[node] = value


def _has_free_shape(node: fx.Node) -> bool:
    """Whether the shape of what a node gives depends on values, as with a mask as an index."""
    operation = node.target
    if not isinstance(operation, torch._ops.OpOverload):
        return False
    if operation is aten.index.Tensor:
        return any(_value(source).dtype == torch.bool for source in node.all_input_nodes[1:])
    return torch.Tag.dynamic_output_shape in operation.tags


# Rewriting


def _rewrite(graph: fx.Graph) -> bool:
    """Replaces operations by better ones, once each; whether there were any."""
    known: dict[tuple[Any, ...], fx.Node] = {}
    has_changed = False
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        with graph.inserting_before(node):
            better = _without_effect(node) or _shared_product(node) or _turned(node)
        key = (node.target, str(node.args), str(node.kwargs))
        if better is None:
            better = known.setdefault(key, node)
        if better is not node:
            node.replace_all_uses_with(better)
            graph.erase_node(node)
            has_changed = True
    return has_changed


def _without_effect(node: fx.Node) -> fx.Node | None:
    """What an operation is given, if that is what it returns."""
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or not isinstance(_value(node), torch.Tensor):
        return None
    if node.target is aten.mul.Scalar and node.args[1] == 1:
        return source if _value(source).dtype == _value(node).dtype else None
    if node.target not in _VIEWS:
        return None
    if _looks_like(source, node):
        return source
    if node.target in _TRANSPOSITIONS and source.target in _TRANSPOSITIONS:
        before: Any = source.args[0]  # transposed twice
        return before if _looks_like(before, node) else None
    return None


def _shared_product(node: fx.Node) -> fx.Node | None:
    """Many matrix products with one matrix in common, as one product with all the others.

    A batch that all models see is such a matrix: k products of (n, m) with (m, p) become one of
    (k p, m) with (m, n).
    """
    if node.target is not aten.bmm.default:
        return None
    A, B = node.args
    assert isinstance(A, fx.Node)
    assert isinstance(B, fx.Node)
    common_A, common_B = _common(A), _common(B)
    num_models, n, m = _value(A).shape
    p = _value(B).shape[2]
    if common_A is not None and common_B is None:
        rows = _call(aten.reshape.default, _transposed(B), [num_models * p, m])
        product = _call(aten.mm.default, rows, _call(aten.t.default, common_A))
        return _transposed(_call(aten.view.default, product, [num_models, p, n]))
    if common_B is not None and common_A is None:
        rows = _call(aten.reshape.default, A, [num_models * n, m])
        product = _call(aten.mm.default, rows, common_B)
        return _call(aten.view.default, product, [num_models, n, p])
    return None


def _turned(node: fx.Node) -> fx.Node | None:
    """The same on transposed matrices, where these lie better in memory."""
    if node.target is aten.bmm.default:
        A, B = node.args
        _, n, p = _value(node).shape
        partners = (other for user in node.users for other in user.all_input_nodes)
        meets_turned = any(
            other is not node and _is_turned(other) and _value(other).shape == _value(node).shape
            for other in partners
        )
        is_slow = p < _SHORTEST_ROW and n > p
        if is_slow or (meets_turned and n >= _SHORTEST_ROW):
            return _transposed(_call(aten.bmm.default, _transposed(B), _transposed(A)))
    # Over the last dimension these work row by row; over the one before it, on many at once.
    if node.target in _SOFTMAXES and node.args[1] in (2, -1) and _is_turned(node.args[0]):
        X, _, *rest = node.args
        return _transposed(_call(node.target, _transposed(X), 1, *rest))
    if node.target in _SOFTMAX_GRADIENTS and node.args[2] in (2, -1) and _is_turned(node.args[1]):
        gradient, output, _, *rest = node.args
        turned = _call(node.target, _transposed(gradient), _transposed(output), 1, *rest)
        return _transposed(turned)
    return None


def _common(node: fx.Node) -> fx.Node | None:
    """The matrix of which a stack of matrices is so many times the same."""
    source = node.args[0] if node.target is aten.expand.default else None
    return source if isinstance(source, fx.Node) and _value(source).dim() == 2 else None


def _is_turned(node: Any) -> bool:
    """Whether a stack of matrices lies in memory as that of the transposed ones."""
    value = _value(node)
    if not isinstance(value, torch.Tensor) or value.dim() != 3 or value.is_contiguous():
        return False
    return bool(value.transpose(1, 2).is_contiguous())


def _transposed(node: Any) -> fx.Node:
    if node.target is aten.transpose.int and {d % 3 for d in node.args[1:]} == {1, 2}:
        before: fx.Node = node.args[0]
        return before
    return _call(aten.transpose.int, node, 1, 2)


def _call(operation: Any, *arguments: Any) -> fx.Node:
    graph = next(a for a in arguments if isinstance(a, fx.Node)).graph
    node = graph.call_function(operation, arguments)
    with torch.no_grad():
        node.meta["value"] = operation(*fx.node.map_arg(arguments, _value))
    return node


def _value(node: Any) -> Any:
    return node.meta.get("value")


def _looks_like(one: fx.Node, other: fx.Node) -> bool:
    """Whether both look in the same way at the same memory."""
    a, b = _value(one), _value(other)
    same_form = a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype
    return bool(same_form and a.data_ptr() == b.data_ptr())


def _copied_inputs(graph: fx.Graph) -> list[int]:
    """The inputs of which a rewritten product has to make a copy."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    copied = []
    for node in graph.nodes:
        if node.target is not aten.reshape.default:
            continue
        source = node.args[0]
        if _value(source).data_ptr() == _value(node).data_ptr():
            continue
        while source.target in _TRANSPOSITIONS:
            source = source.args[0]
        if source in inputs and _value(source).dim() == 3:
            copied.append(inputs.index(source))
    return copied


# From a graph to a function


def _compiled(module: fx.GraphModule) -> tuple[Callable[..., Any], str]:
    names: dict[str, Any] = {}
    parameters: list[str] = []
    lines: list[str] = []
    constants: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder":
            parameters.append(node.name)
        elif node.op == "get_attr":
            names[node.name] = getattr(module, str(node.target))
            constants.add(node)
        elif node.op == "output":
            lines.append(f"return {_text(list(node.args[0]), names)}")
        elif _is_constant(node, constants):
            names[node.name] = tree_map_only(torch.Tensor, torch.clone, _value(node))
            constants.add(node)
        else:
            operation, buffer = _into_memory(node)
            arguments = [_text(value, names) for value in node.args]
            arguments += [f"{key}={_text(value, names)}" for key, value in node.kwargs.items()]
            if buffer is not None:
                like = _value(node)
                memory = like.new_empty_strided(like.shape, like.stride())
                names[f"{node.name}_memory"] = memory
                arguments.append(f"{buffer}={node.name}_memory")
            names[f"{node.name}_operation"] = operation
            lines.append(f"{node.name} = {node.name}_operation({', '.join(arguments)})")
    body = "\n".join(f"    {line}" for line in lines)
    source = f"def program({', '.join(parameters)}):\n{body}\n"
    exec(source, names)
    return names["program"], source


def _is_constant(node: fx.Node, constants: set[fx.Node]) -> bool:
    """Whether a node gives the same for all inputs of these shapes."""
    name = node.target._opname if isinstance(node.target, torch._ops.OpOverload) else ""
    if name in ("ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full"):
        return True
    return all(source in constants for source in node.all_input_nodes)


def _into_memory(node: fx.Node) -> tuple[Any, str | None]:
    """The form of an operation that writes into given memory, and the name of that argument."""
    operation: Any = node.target
    is_operation = isinstance(operation, torch._ops.OpOverload)
    if not is_operation or operation in _VIEWS or not isinstance(_value(node), torch.Tensor):
        return operation, None
    packet, name = operation._overloadpacket, operation._overloadname
    named = (f"{name}_out", f"{name.removeprefix('dim_')}_out")
    given = [(argument.name, str(argument.type)) for argument in operation._schema.arguments]
    for overload in ("out", *named):
        if overload not in packet.overloads():
            continue
        into = getattr(packet, overload)
        outputs = [argument for argument in into._schema.arguments if argument.is_out]
        own = [(a.name, str(a.type)) for a in into._schema.arguments if not a.is_out]
        if len(outputs) == 1 and own == given:
            return into, outputs[0].name
    return operation, None


def _text(value: Any, names: dict[str, Any]) -> str:
    """A value as an expression; what cannot be written gets a name."""
    if isinstance(value, fx.Node):
        return value.name
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(item, names) for item in value) + "]"
    if value is None or isinstance(value, bool | int):
        return repr(value)
    name = f"value_{len(names)}"
    names[name] = value
    return name
