"""A trained model in another format, verified before it is kept."""

import copy
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from gradbook.checks import at_rest, explain_not_one_tensor
from gradbook.devices import device_of
from gradbook.errors import (
    BatchError,
    CheckpointError,
    ConfigError,
    CorruptFileError,
    MissingExtraError,
    ModelError,
    did_you_mean,
    shown,
)
from gradbook.hparams import qualified_name
from gradbook.interrupts import interruptible
from gradbook.resume.snapshot import make_room
from gradbook.storage import check_path, write_atomically
from gradbook.tensors import as_tensor, copy_batch
from gradbook.untrusted import check_file

Format = Literal["safetensors", "onnx", "torch-export"]

#: How a file of each format usually ends.
SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx", "torch-export": ".pt2"}
#: How far an export's outputs may be from the model's, as a part of the largest output, or of 1
#: where all are smaller. Other kernels add the same numbers in another order.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """A model that was exported.

    Attributes:
        path: The file.
        num_bytes: Its size.
        difference: The largest difference between the export's outputs and the model's.
        allowed: What it was allowed to be.
    """

    path: Path
    num_bytes: int
    difference: float
    allowed: float


@interruptible()
def export(model: torch.nn.Module, path: Path | str, to: Format, example_inputs: Any) -> Exported:
    """Writes a trained model in another format.

    What is written was loaded first, as its user will load it, and gave the model's outputs for
    the whole of `example_inputs` and for their first example alone, within `TOLERANCE`. The file
    is whole or absent. In ONNX and in `torch.export` a batch may have any size.

    Args:
        model: The model. It is exported in evaluation mode, on the CPU, and left as it is.
        path: The file.
        to: "safetensors": the parameters and buffers alone; `load_safetensors` puts them into a
            model. "onnx": the network, for ONNX Runtime and other programs; its inputs are named
            X (or X0, X1, ...), its output y_hat. "torch-export": the network, for
            `torch.export.load`.
        example_inputs: The inputs of one batch, without the labels: one tensor X, or several in
            a list. Arrays and tables are converted as by `DataModule.get_tensorloader`.

    Raises:
        ConfigError: If there is no such format, no example, or a path that is none.
        DataError: If the inputs are not numbers.
        BatchError: If they do not fit the model.
        MissingExtraError: If a package that the format needs is not installed.
        ModelError: If the model is none, the network cannot be exported, or the export computes
            something else.
        StorageError: If the file cannot be written.
    """
    given: Any = model
    if not isinstance(given, torch.nn.Module):
        what = f"the class {given.__name__}" if isinstance(given, type) else shown(given)
        raise ModelError(
            f"export() needs a trained model first, and then the file, but got {what}. Write "
            f"`export(model, path, to, X)`."
        )
    check_path(path, "path", "mlp.onnx")
    if to not in get_args(Format):
        raise ConfigError(
            f"There is no format {to!r:.80}.{did_you_mean(str(to), get_args(Format))} There are "
            f"{', '.join(get_args(Format))}."
        )
    given = [example_inputs] if hasattr(example_inputs, "__array__") else example_inputs
    if given is not None and not isinstance(given, list | tuple):
        raise ConfigError(
            f"example_inputs must be the inputs of one batch, as one tensor X or several in a "
            f"list, but it is of type {type(given).__name__}. Write such as "
            f"`next(iter(data.val_dataloader()))[:-1]`."
        )
    inputs = [as_tensor(X, f"example_inputs[{i}]").cpu() for i, X in enumerate(given or ())]
    if not inputs or not len(inputs[0]):
        raise ConfigError("example_inputs holds no example. Give the inputs of one batch.")
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.layout is not torch.strided:
            raise ModelError(
                f"{type(model).__name__}.{name} is a sparse tensor, and exports hold only dense "
                f"ones. Keep {name}.to_dense() instead to export the model."
            )
    _check_packages(to)
    if device_of(model).type != "cpu":
        model = copy.deepcopy(model).cpu()
    with at_rest(model):
        try:
            expected = model(*copy_batch(inputs))  # makes lazy layers know their shapes too
        except (TypeError, BatchError) as error:  # of any module, or as ours explains it
            if "positional argument" not in str(error):
                raise
            raise ConfigError(
                f"example_inputs holds {len(inputs)} inputs, which {type(model).__name__}.forward "
                f"does not take: {error}. Give those of one batch without the labels, such as "
                f"`X`, or `[X]`."
            ) from error
        if not isinstance(expected, torch.Tensor):
            raise ModelError(explain_not_one_tensor(model, expected))
        if inputs[0].dim() == 1 and expected.shape[:1] != inputs[0].shape:
            raise ConfigError(
                f"example_inputs holds an input of shape {tuple(inputs[0].shape)}, which is no "
                f"batch. Give a batch of one example: `X[None]`."
            )
        content, run = _FORMATS[to](model, copy_batch(inputs))
        differences = []
        for batch, wanted in ((inputs, expected), ([X[:1] for X in inputs], expected[:1])):
            outputs = run(copy_batch(batch))
            if outputs.shape != wanted.shape:
                raise ModelError(
                    f"The export gives outputs of shape {tuple(outputs.shape)} where "
                    f"{type(model).__name__} gives {tuple(wanted.shape)}. Nothing was written."
                )
            differences.append((outputs - wanted).abs().max())
    difference = float(torch.stack(differences).max())
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    if not difference <= allowed:  # so written, NaN is refused as well
        raise ModelError(
            f"The export's outputs differ from those of {type(model).__name__} by up to "
            f"{difference:.2g}, more than the {allowed:.2g} that rounding explains. Nothing was "
            f"written."
        )
    write_atomically(path, content)
    return Exported(Path(path), len(content), difference, allowed)


def load_safetensors(model: torch.nn.Module, path: Path | str) -> dict[str, str]:
    """Puts the parameters and buffers of a safetensors file into `model`.

    Args:
        model: A model made with the hyperparameters of the one that was exported. Its lazy layers
            need not know their shapes.
        path: The file.

    Returns:
        What the file says of itself: "format" ("pt", PyTorch's) and "model", the class.

    Raises:
        MissingExtraError: If safetensors is not installed.
        ConfigError: If there is no such file.
        CorruptFileError: If the file is damaged.
        CheckpointError: If its tensors are not those of `model`.
    """
    _check_packages("safetensors")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(check_file(path), framework="pt") as stream:
            metadata: dict[str, str] = stream.metadata() or {}
            names = stream.keys()
            tensors = {name: stream.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise ConfigError(f"There is no file {str(path)!r}.") from None
    except SafetensorError as error:
        raise CorruptFileError(
            f"{path} is damaged or no safetensors file: {error}. Export the model again."
        ) from error
    _load_state(model, tensors, str(path), metadata.get("model", "another model"))
    return metadata


def _load_state(
    model: torch.nn.Module, tensors: dict[str, torch.Tensor], where: str, of: str
) -> None:
    try:
        make_room(model)
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{where} holds the parameters of {of}, which do not fit this "
            f"{type(model).__name__}. Make it with the hyperparameters of the exported one.\n"
            f"{error}"
        ) from error


def _to_safetensors(model: torch.nn.Module, inputs: list[torch.Tensor]) -> Any:
    from safetensors import torch as safetensors

    # Copies: the format holds neither tensors that share memory nor transposed ones.
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    metadata = {"format": "pt", "model": qualified_name(type(model))}
    content = safetensors.save(state, metadata)
    fresh = copy.deepcopy(model)
    make_room(fresh)
    for value in fresh.state_dict().values():
        value.zero_()
    _load_state(fresh, safetensors.load(content), "The export", metadata["model"])
    return content, lambda batch: fresh(*batch)


def _to_onnx(model: torch.nn.Module, inputs: list[torch.Tensor]) -> Any:
    import onnxruntime

    names = ["X"] if len(inputs) == 1 else [f"X{i}" for i in range(len(inputs))]
    with _exporting(model, "ONNX"):
        traced = _traced(model, inputs)
        program = torch.onnx.export(
            traced, input_names=names, output_names=["y_hat"], dynamo=True, verbose=False
        )
        assert program is not None  # so it is without dynamo only
        content = program.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(batch: list[torch.Tensor]) -> torch.Tensor:
        feed = {name: X.numpy() for name, X in zip(names, batch, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return content, run


def _to_torch_export(model: torch.nn.Module, inputs: list[torch.Tensor]) -> Any:
    buffer = io.BytesIO()
    with _exporting(model, "torch.export"):
        torch.export.save(_traced(model, inputs), buffer)
        loaded = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    return buffer.getvalue(), lambda batch: loaded(*batch)


def _traced(model: torch.nn.Module, inputs: list[torch.Tensor]) -> torch.export.ExportedProgram:
    """The network as a graph that takes batches of any size."""
    # Two examples: a batch of one would be taken for a fixed size, and more only fill the file,
    # which keeps them, and whatever shares their memory.
    examples = tuple(torch.cat([X, X])[:2].clone() for X in inputs)
    size = torch.export.Dim("batch")
    shapes = tuple({0: size} for _ in inputs)
    return torch.export.export(model, examples, dynamic_shapes=shapes, strict=False)


_FORMATS = {"safetensors": _to_safetensors, "onnx": _to_onnx, "torch-export": _to_torch_export}
_PACKAGES = {"safetensors": ("safetensors",), "onnx": ("onnx", "onnxscript", "onnxruntime")}


def _check_packages(to: str) -> None:
    for package in _PACKAGES.get(to, ()):
        try:
            importlib.import_module(package)
        except ModuleNotFoundError:
            raise MissingExtraError.of(package, f"The format {to}", to) from None


@contextmanager
def _exporting(model: torch.nn.Module, to: str) -> Iterator[None]:
    """Keeps an exporter's talk from the console, and says what could not be exported."""
    silenced = logging.root.manager.disable
    logging.disable(logging.ERROR)
    talk = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(talk), redirect_stderr(talk):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # exporters raise errors of many classes of their own
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ModelError(
            f"{type(model).__name__} cannot be exported to {to}: {reason}\n"
            f"Besides a function that the format lacks, the usual cause is a forward that depends "
            f"on the values of a batch, or on its size as a number: write X.shape[0] instead of "
            f"len(X). The format safetensors works for every model."
        ) from error
    finally:
        logging.disable(silenced)
