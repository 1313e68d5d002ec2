"""Every finished model, data set and watcher of gradbook, each with one line.

The command's names and help, the names of `gradbook`, `gradbook.models`, `gradbook.datasets` and
`d2l.torch`, the choices of `watch=`, and the rebuilding of runs are made from these lines. To add
one, write its file and add its line. Classes stand above this file: they are named here, and loaded
when they are first used.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A finished class.

    Attributes:
        home: The module that defines it.
        class_name: What it is called there.
        text: What it is, for the command's help.
        aliases: Further names by which the command knows it.
        defaults: What the command takes where the class has another default.
    """

    home: str
    class_name: str
    text: str
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = MappingProxyType({})

    def load(self) -> type:
        """The class. Its module is imported when it is first needed."""
        Class: type = getattr(import_module(self.home), self.class_name)
        return Class


#: The finished models, by the name that the command has for each.
MODELS = {
    "linear-regression-scratch": Entry(
        "gradbook.models.linear_regression",
        "LinearRegressionScratch",
        "linear regression, written out (book 3.4)",
    ),
    "linear-regression": Entry(
        "gradbook.models.linear_regression",
        "LinearRegression",
        "linear regression with PyTorch's layers (book 3.5)",
    ),
    "softmax-regression-scratch": Entry(
        "gradbook.models.softmax_regression",
        "SoftmaxRegressionScratch",
        "softmax regression, written out (book 4.4); also softmax-scratch",
        ("softmax-scratch",),
    ),
    "softmax-regression": Entry(
        "gradbook.models.softmax_regression",
        "SoftmaxRegression",
        "softmax regression with PyTorch's layers (book 4.5); also softmax",
        ("softmax",),
    ),
    "mlp-scratch": Entry(
        "gradbook.models.mlp", "MLPScratch", "multilayer perceptron, written out (book 5.2)"
    ),
    "mlp": Entry(
        "gradbook.models.mlp", "MLP", "multilayer perceptron with PyTorch's layers (book 5.2)"
    ),
    "rnn": Entry(
        "gradbook.models.recurrent",
        "RecurrentLM",
        "recurrent language model: RNN, GRU or LSTM (book 9.6, 10.1 to 10.3)",
    ),
    "lenet": Entry(
        "gradbook.models.convolutional", "LeNet", "convolutional network, LeNet-5 (book 7.6)"
    ),
}

#: The finished data sets.
DATA = {
    "fashion-mnist": Entry(
        "gradbook.datasets.fashion_mnist",
        "FashionMNIST",
        "70,000 images of clothes (book 4.2)",
        defaults={"batch_size": 256},  # book 5.2
    ),
    "time-machine": Entry(
        "gradbook.datasets.text",
        "TimeMachine",
        "a novel, character by character (book 9.3)",
        defaults={"batch_size": 1024, "num_steps": 32},  # book 9.5
    ),
    "synthetic-regression": Entry(
        "gradbook.datasets.synthetic",
        "SyntheticRegressionData",
        "points near a known plane (book 3.3)",
        ("synthetic-regression-data",),
    ),
    "fra-eng": Entry(
        "gradbook.datasets.translation",
        "MTFraEng",
        "pairs of English and French sentences (book 10.5); also mt-fra-eng",
        ("mt-fra-eng",),
        defaults={"batch_size": 128},  # book 10.7
    ),
    "moons": Entry("gradbook.datasets.toy", "Moons", "two half circles in the plane"),
    "circles": Entry("gradbook.datasets.toy", "Circles", "a circle within a circle"),
    "spirals": Entry("gradbook.datasets.toy", "Spirals", "arms that wind about a point"),
    "xor": Entry("gradbook.datasets.toy", "Xor", "a square, classes by opposite signs"),
    "blobs": Entry("gradbook.datasets.toy", "Blobs", "clouds of points in the plane"),
    "sine": Entry("gradbook.datasets.toy", "Sine", "a noisy sine, for regression"),
}

#: What `Trainer(watch=...)` may name. Each is a `Sink` that puts what it has seen into
#: `trainer.reports`, under this name; the files that its report keeps in a run bear the name, too.
WATCHERS = {
    "gradients": Entry(
        "gradbook.watching.gradients",
        "GradientWatcher",
        "gradients, weights and activations of each layer (book 5.4)",
    ),
    "boundary": Entry(
        "gradbook.inspection.boundaries",
        "BoundaryWatcher",
        "the decision boundary, or the fitted curve, of one or two inputs",
    ),
    "weights": Entry(
        "gradbook.inspection.weight_film",
        "WeightWatcher",
        "the first layer's weights as images, epoch by epoch, to be replayed in the lab",
    ),
}


def known_name(written: str, known: Mapping[str, Entry]) -> str:
    """The name of the finished class that a file tells of; empty if it is none of these.

    Args:
        written: The class as run.json has it, such as "gradbook.models.mlp.MLP".
        known: The finished models, or the data sets.
    """
    for name, entry in known.items():
        package = entry.home.rpartition(".")[0]  # an older gradbook may have had another file
        if written.startswith(f"{package}.") and written.endswith(f".{entry.class_name}"):
            return name
    return ""


def homes(known: Mapping[str, Entry] | None = None) -> dict[str, str]:
    """The module of every finished class, by the name of the class.

    Args:
        known: The models, or the data sets; None takes both.
    """
    entries = {**MODELS, **DATA} if known is None else known
    return {entry.class_name: entry.home for entry in entries.values()}
