"""Which kinds of layers are stacked, and in what words the others are trained alone."""

import pytest
import torch
from tests.sweeps.stacking import (
    Images,
    Net,
    Same,
    TensorLoader,
    assert_fallback,
    assert_stacked_as_alone,
    member,
)
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.slow


class Sequences(Same):
    """Of 6 points in 4 dimensions."""

    def get_dataloader(self, train):
        loader = super().get_dataloader(train)
        X = torch.stack([loader.tensors[0].roll(k, 1) for k in range(6)], 1)
        return TensorLoader((X, loader.tensors[1]), 8, train)


class Layered(Net):
    """`make` makes its first layer, of 4 inputs, and `compute` computes with it."""

    make = staticmethod(lambda: nn.Linear(4, 5))
    width = 5

    def __init__(self, lr=0.1):
        super().__init__(lr=lr)
        self.first = self.make()
        self.last = nn.Linear(self.width, 3)
        del self.net

    def compute(self, X):
        return self.first(X)

    def forward(self, X):
        return self.last(self.compute(X))


def layered(make, compute=None, width=5):
    attributes = {"make": staticmethod(make), "width": width}
    if compute is not None:
        attributes["compute"] = compute
    return type("Layered", (Layered,), attributes)


def last_state(model, X):
    return model.first(X)[0][:, -1]


def last_of_cell(model, X):
    state = None
    for t in range(X.shape[1]):
        state = model.first(X[:, t], state)
    return state[0] if isinstance(state, tuple) else state


def attended(model, X):
    return model.first(X, X, X)[0].mean(1)


def attended_without_weights(model, X):
    return model.first(X, X, X, need_weights=False)[0].mean(1)


def by_hand(model, X):
    Q = model.first(X)
    return F.scaled_dot_product_attention(Q, X, X, is_causal=True).mean(1)


def pruned():
    layer = nn.Linear(4, 5)
    prune.l1_unstructured(layer, "weight", 0.3)
    return layer


def attention(dropout):
    return lambda: nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=True)


def transformer(dropout):
    return lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=dropout, batch_first=True)


def cosine(model, X):
    return 5 * F.cosine_similarity(X[:, None], model.first.weight[None], dim=-1)


STACKED = {
    "LSTM": (layered(lambda: nn.LSTM(4, 5, batch_first=True), last_state), Sequences),
    "GRU": (layered(lambda: nn.GRU(4, 5, batch_first=True), last_state), Sequences),
    "RNN": (layered(lambda: nn.RNN(4, 5, batch_first=True), last_state), Sequences),
    "both ways": (
        layered(
            lambda: nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True), last_state, width=10
        ),
        Sequences,
    ),
    "LSTMCell": (layered(lambda: nn.LSTMCell(4, 5), last_of_cell), Sequences),
    "GRUCell": (layered(lambda: nn.GRUCell(4, 5), last_of_cell), Sequences),
    "RNNCell": (layered(lambda: nn.RNNCell(4, 5), last_of_cell), Sequences),
    "attention": (layered(attention(0.0), attended, width=4), Sequences),
    "attention without weights": (
        layered(attention(0.0), attended_without_weights, width=4),
        Sequences,
    ),
    "scaled dot product": (layered(lambda: nn.Linear(4, 4), by_hand, width=4), Sequences),
    "transformer": (
        layered(transformer(0.0), lambda model, X: model.first(X).mean(1), width=4),
        Sequences,
    ),
    "weight_norm": (layered(lambda: parametrizations.weight_norm(nn.Linear(4, 5))), Same),
    "orthogonal": (layered(lambda: parametrizations.orthogonal(nn.Linear(4, 5))), Same),
    "cosine_similarity": (layered(lambda: nn.Linear(4, 5, bias=False), cosine), Same),
    "instance norm": (
        layered(
            lambda: nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Flatten()
            ),
            width=144,
        ),
        Images,
    ),
}


@pytest.mark.parametrize(("Model", "data"), STACKED.values(), ids=STACKED)
def test_a_layer_is_stacked_and_trains_as_it_would_alone(Model, data):
    assert_stacked_as_alone(
        [member(Model, data, seed, lr=lr) for seed, lr in ((0, 0.05), (1, 0.2))]
    )


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X):
        ctx.save_for_backward(X)
        return X.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0] > 0)


def written(model, X):
    Z = torch.zeros(len(X), 5)
    Z[:, :] = model.first(X)
    return Z


def masked(model, X):
    H = model.first(X) * 1
    H[H < 0] = 0.0
    return H


def compiled():
    layer = nn.Linear(4, 5)
    layer.compile(backend="eager")
    return layer


ALONE = {
    "dropout of an LSTM": (
        layered(lambda: nn.LSTM(4, 5, 2, batch_first=True, dropout=0.5), last_state),
        Sequences,
        "its steps draw random numbers, as dropout does",
    ),
    "dropout of attention": (
        layered(attention(0.3), attended, width=4),
        Sequences,
        "its steps draw random numbers, as dropout does",
    ),
    "AlphaDropout": (
        layered(lambda: nn.Sequential(nn.Linear(4, 5), nn.AlphaDropout(0.5))),
        Same,
        "its steps draw random numbers, as dropout does",
    ),
    "batch norm": (
        layered(lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, momentum=None))),
        Same,
        "its steps change a buffer of BatchNorm1d",
    ),
    "spectral_norm": (
        layered(lambda: parametrizations.spectral_norm(nn.Linear(4, 5))),
        Same,
        "its steps change a buffer of _SpectralNorm",
    ),
    "prune": (layered(pruned), Same, "its layer first has hooks (L1Unstructured)"),
    "own Function": (
        layered(lambda: nn.Linear(4, 5), lambda model, X: OwnFunction.apply(model.first(X))),
        Same,
        "OwnFunction, an autograd.Function of your own, cannot be computed for several models "
        "at once",
    ),
    "item": (
        layered(lambda: nn.Linear(4, 5), lambda model, X: model.first(X) * X.max().item()),
        Same,
        "its steps look at the value of a tensor, with .item()",
    ),
    "if": (
        layered(lambda: nn.Linear(4, 5), lambda model, X: model.first(X) if X.sum() > -1e9 else X),
        Same,
        "its steps look at the value of a tensor, with bool()",
    ),
    "tolist": (
        layered(lambda: nn.Linear(4, 5), lambda model, X: model.first(X) * len(X.tolist())),
        Same,
        "its steps look at the value of a tensor, with .tolist()",
    ),
    "mask": (
        layered(lambda: nn.Linear(4, 5), masked),
        Same,
        "its steps select elements by their values, with a mask",
    ),
    "nonzero": (
        layered(lambda: nn.Linear(4, 5), lambda model, X: model.first(X) * len(X.nonzero())),
        Same,
        "its steps select elements by their values, with torch.nonzero",
    ),
    "in place": (
        layered(lambda: nn.Linear(4, 5), written),
        Same,
        "its steps write into a tensor in place, with an assignment to its elements",
    ),
    "compiled": (layered(compiled), Same, "its layer first is compiled by torch.compile"),
    "traced": (
        layered(lambda: torch.jit.trace(nn.Linear(4, 5), torch.zeros(8, 4))),
        Same,
        "its layer first is compiled by torch.jit",
    ),
    "checkpoint": (
        layered(
            lambda: nn.Linear(4, 5),
            lambda model, X: checkpoint(model.first, X, use_reentrant=False),
        ),
        Same,
        "torch.utils.checkpoint.checkpoint cannot be computed for several models at once",
    ),
    "one_hot": (
        layered(
            lambda: nn.Linear(4, 5),
            lambda model, X: model.first(X) * F.one_hot((X[:, 0] > 0).long(), 5),
        ),
        Same,
        "torch.nn.functional.one_hot cannot be computed for several models at once",
    ),
    "16 bits": (
        layered(
            lambda: nn.Linear(4, 5, dtype=torch.bfloat16),
            lambda model, X: model.first(X.bfloat16()).float(),
        ),
        Same,
        "its parameter first.weight is bfloat16, which is too coarse to compare",
    ),
    "sparse": (
        layered(
            lambda: nn.Embedding(10, 5, sparse=True),
            lambda model, X: model.first(X.long().abs() % 10).mean(1),
        ),
        Same,
        "the gradients of its loss cannot be computed for several models at once",
    ),
}


@pytest.mark.parametrize(("Model", "data", "reason"), ALONE.values(), ids=ALONE)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_the_reason_for_training_alone_is_a_sentence_and_true(Model, data, reason):
    builders = [member(Model, data, seed, lr=0.1) for seed in (0, 1)]
    trained = assert_fallback(builders, reason)
    assert [training.alone for training in trained] == [reason] * 2
