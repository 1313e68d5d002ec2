from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from gradbook import MLP, Module, SyntheticRegressionData, summary
from gradbook.errors import BatchError, ConfigError, DataError, ModelError
from gradbook.models import LinearRegression, MLPScratch


class Function(nn.Module):
    """A network that is one function."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def row_of(model, data, name, **options):
    return {row.name: row for row in summary(model, data, **options).rows}[name]


def grown(*shape):
    return torch.rand(*shape, requires_grad=True)


# Multiply-adds, by hand

ENCODER = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
PROJECTIONS, HEADS = 2 * 5 * 16 * 16 * 4, 2 * 2 * 5 * 5 * (8 + 8)


@pytest.mark.parametrize(
    ("model", "shapes", "expected"),
    [
        (nn.Linear(4, 3), (2, 4), 2 * 4 * 3),
        (nn.Linear(4, 3, bias=False), (2, 7, 4), 2 * 7 * 4 * 3),
        (nn.Conv1d(4, 6, 3), (2, 4, 9), 2 * 6 * 7 * (4 * 3)),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9, 9), 2 * 6 * 25 * (2 * 9)),
        (nn.Conv2d(4, 6, 3, dilation=2), (2, 4, 9, 9), 2 * 6 * 25 * (4 * 9)),
        (nn.Conv2d(4, 6, 3, dilation=2), (4, 9, 9), 6 * 25 * (4 * 9)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (2, 4, 5, 5), 2 * 4 * 25 * (3 * 9)),
        (nn.RNN(4, 3), (7, 2, 4), 14 * 3 * (4 + 3)),
        (nn.GRU(4, 3), (7, 2, 4), 14 * 9 * (4 + 3)),
        (nn.LSTM(4, 3), (7, 2, 4), 14 * 12 * (4 + 3)),
        (nn.LSTM(4, 3, 2, bidirectional=True), (7, 2, 4), 14 * 2 * 12 * (4 + 3 + 6 + 3)),
        (nn.LSTMCell(4, 3), (2, 4), 2 * 12 * (4 + 3)),
        (nn.MultiheadAttention(16, 2, batch_first=True), [(2, 5, 16)] * 3, PROJECTIONS + HEADS),
        (ENCODER, (2, 5, 16), PROJECTIONS + HEADS + 2 * (2 * 5 * 16 * 32)),
        (nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)], 2 * 5 * 3 * 4),
        (nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), (2, 4), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_multiply_adds_of_layers_are_those_counted_by_hand(model, shapes, expected):
    found = summary(model, shapes)
    assert found.multiply_adds == sum(row.multiply_adds for row in found.rows) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda X: X @ X.T, 3 * 3 * 4),
        (lambda X: X @ torch.ones(4), 3 * 4),
        (lambda X: torch.dot(X[0], X[1]), 4),
        (lambda X: torch.einsum("ij,kj->ik", X, X), 3 * 3 * 4),
        (lambda X: torch.baddbmm(X[None], X[None], torch.ones(1, 4, 4)), 3 * 4 * 4),
        (lambda X: torch.zeros(3, 3).addmm_(X, X.T), 3 * 3 * 4),
        (lambda X: (X * X).sum(), 12),
        (lambda X: (X[:, :, None] * torch.ones(1, 4, 5)).sum(1), 3 * 4 * 5),
        (lambda X: (X * 2).sum(), 0),
        (lambda X: X * X + X, 0),
        (lambda X: F.scaled_dot_product_attention(X[None], X[None], X[None]), 3 * 3 * (4 + 4)),
    ],
)
def test_so_are_those_of_functions(function, expected):
    assert summary(Function(lambda _, X: function(X)), (3, 4)).multiply_adds == expected


def test_a_network_that_works_in_inference_mode_is_counted_too():
    @torch.inference_mode()
    def run(model, X):
        return model.layer(X)

    assert summary(Function(run, layer=nn.Linear(4, 3)), (2, 4)).multiply_adds == 24


@pytest.mark.parametrize("function", [torch.fft.fft, lambda X: torch.linalg.solve(X, X)])
def test_what_cannot_be_counted_is_said(function):
    model = Function(lambda self, X: function(self.layer(X)), layer=nn.Linear(4, 4))
    found = summary(model, (4, 4))
    assert found.multiply_adds is None
    assert found.rows[0].multiply_adds is None
    assert found.rows[1].multiply_adds == 64
    assert f"at least 64 multiply-adds; those of {found.uncounted[0]} are not known" in repr(found)


# Layers


def test_a_model_of_layers_is_listed_with_shapes_parameters_and_bytes():
    assert repr(summary(MLP(num_outputs=10, num_hiddens=256), (256, 1, 28, 28))).splitlines() == [
        "MLP on an input of (256, 1, 28, 28)",
        "",
        "layer  class       output      parameters  multiply-adds    bytes",
        "MLP    MLP         (256, 10)            -              -        -",
        "net    Sequential  (256, 10)            -              -        -",
        "net.0  Flatten     (256, 784)           -              -        -",
        "net.1  Linear      (256, 256)     200,960     51,380,224   804 kB  lazy",
        "net.2  ReLU        (256, 256)           -              -        -",
        "net.3  Linear      (256, 10)        2,570        655,360  10.3 kB  lazy",
        "",
        "203,530 parameters; parameters and buffers take 814 kB",
        "52,035,584 multiply-adds",
        "the outputs of the layers take 1.34 MB",
    ]


def test_a_scratch_model_is_listed_tensor_by_tensor():
    found = summary(MLPScratch(), (8, 1, 28, 28))
    rows = [(row.name, row.outputs, row.parameters, row.multiply_adds) for row in found.rows]
    assert rows == [
        ("", ((8, 10),), 0, 0),
        ("W1", ((784, 256),), 200_704, 8 * 200_704),
        ("b1", ((256,),), 256, 0),
        ("W2", ((256, 10),), 2_560, 8 * 2_560),
        ("b2", ((10,),), 10, 0),
    ]


def test_so_is_a_model_that_only_looks_like_one():
    class Like:
        def __init__(self):
            self.w, self.net = grown(4, 2), nn.Linear(2, 3)

        def __call__(self, X):
            return self.net(X @ self.w)

    found = summary(Like(), (8, 4))
    assert [(row.name, row.multiply_adds) for row in found.rows] == [
        ("", 0),
        ("w", 64),
        ("net", 48),
    ]
    assert found.rows[0].outputs == ((8, 3),)
    assert found.parameters == 17


def test_a_plain_tensor_of_a_layer_and_what_stands_in_a_list_are_counted():
    def run(model, X):
        return model.layers[0](X @ model.w)

    model = Function(run, w=grown(4, 2), layers=[nn.Linear(2, 2)])
    for data in ((8, 4), None):
        found = summary(model, data)
        assert [row.name for row in found.rows] == [
            *("", "w", "layers[0].weight", "layers[0].bias")
        ]
        assert found.parameters == 8 + 4 + 2
        assert found.rows[2].notes == ("in no layer",)
    assert summary(model, (8, 4)).multiply_adds == 8 * (8 + 4)


def test_a_layer_that_stands_twice_is_counted_once_and_called_twice():
    shared = nn.Linear(8, 8)
    found = summary(nn.Sequential(nn.Linear(4, 8), shared, nn.ReLU(), shared), (2, 4))
    first, relu, again = found.rows[2:]
    assert (first.calls, first.parameters, first.multiply_adds) == (2, 72, 2 * 2 * 64)
    assert first.notes == ("called 2 times",)
    assert (relu.name, again.name, again.parameters) == ("2", "3", 0)
    assert again.notes == ("the same as 1",)
    assert found.parameters == 40 + 72


def test_outputs_of_several_calls_are_told_each():
    layer = nn.Linear(4, 4)
    model = Function(lambda self, X: (self.layer(X), self.layer(X[:1])), layer=layer)
    assert row_of(model, (3, 4), "layer").outputs == ((3, 4), (1, 4))


def test_a_shared_parameter_is_counted_once_and_each_product_where_it_is_computed():
    embed, out = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
    out.weight = embed.weight
    found = summary(nn.Sequential(embed, out), torch.zeros(2, 3, dtype=torch.int64))
    assert [row.parameters for row in found.rows] == [0, 36, 0]
    assert found.rows[2].notes == ("shares 0.weight",)
    assert found.rows[2].multiply_adds == 2 * 3 * 4 * 9


def test_layers_come_in_the_order_of_their_calls_and_those_never_called_last():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.second, self.first = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, X):
            return self.second(self.first(X))

    rows = summary(Net(), (2, 4)).rows
    assert [row.name for row in rows[1:]] == ["first", "second", "unused"]
    assert rows[-1].notes == ("not called",)


def test_frozen_parameters_and_buffers_are_told():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[0].requires_grad_(False)
    found = summary(model, (2, 4))
    assert (found.parameters, found.trained) == (28, 8)
    assert found.rows[1].notes == ("frozen",)
    assert found.rows[2].num_bytes == 8 * 4 + 8 * 4 + 8  # running mean, variance and count
    assert "28 parameters, of which 8 are trained" in repr(found)


def test_depth_counts_what_lies_deeper_in_the_layer_that_holds_it():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), nn.Linear(2, 1))
    whole, folded = summary(model, (3, 4)), summary(model, (3, 4), depth=1)
    assert [(row.name, row.parameters) for row in folded.rows[1:]] == [("0", 30), ("1", 3)]
    assert folded.rows[1].multiply_adds == 3 * (16 + 8)
    assert (folded.parameters, folded.multiply_adds) == (whole.parameters, whole.multiply_adds)
    with pytest.raises(ConfigError, match="depth"):
        summary(model, (3, 4), depth=0)


def test_outputs_in_tuples_and_dictionaries_are_told():
    class Net(nn.Module):
        def forward(self, X, Z):
            return {"a": X, "b": (Z, None)}

    found = summary(Net(), [(2, 3), (2, 4)])
    assert found.inputs == ((2, 3), (2, 4))
    assert found.rows[0].outputs == ({"a": (2, 3), "b": ((2, 4), None)},)
    assert "a (2, 3), b (2, 4), None" in repr(found)


def test_a_network_that_is_compiled_is_listed_as_it_was():
    class Net(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, X):
            return self.net(X)

    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    plain = summary(Net(net), (2, 4)).rows
    assert summary(Net(torch.compile(net, backend="eager")), (2, 4)).rows == plain


net = nn.Linear(9, 9)  # a global, as in a notebook


def test_a_global_that_is_called_like_an_attribute_is_none_of_the_model():
    class Net(Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 4)

        def forward(self, X):
            return self.net(X)

    assert summary(Net()).parameters == summary(Net(), (2, 4)).parameters == 20


# What is not known, and what stays


def test_without_data_the_parameters_are_listed():
    found = summary(nn.Linear(4, 3))
    assert (found.parameters, found.multiply_adds, found.inputs) == (15, None, ())
    assert "need data" in repr(found)


def test_without_data_a_lazy_layer_is_not_known_and_with_them_stays_lazy():
    model = LinearRegression(lr=0.1)
    assert summary(model).rows[1].parameters is None
    assert "at least 0 parameters" in repr(summary(model))
    assert row_of(model, (8, 2), "net").notes == ("lazy",)
    assert isinstance(model.net, nn.LazyLinear)


def test_the_model_and_the_generators_stay_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[2].eval()
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    summary(model, DataLoader(SET, 4, shuffle=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.training for layer in model] == [True, True, False]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not seen
    assert len(model[0]._forward_hooks) == 1
    assert not model[1]._forward_hooks
    assert torch.backends.mha.get_fastpath_enabled()


# Data

X, y = torch.rand(8, 4), torch.rand(8, 1)
SET = TensorDataset(X, y)


@pytest.mark.parametrize(
    "data",
    [
        *(X, X.numpy(), X.tolist(), (X,), (X, y), [X, y], (X, None), (X.numpy(), y.numpy())),
        *((8, 4), [(8, 4)], X.shape, {"input": X}, SET, DataLoader(SET, 8), (SET, SET)),
        *([(X, y)], ((X, y), (X, y)), (DataLoader(SET, 8), None)),
    ],
    ids=lambda data: type(data).__name__,
)
def test_a_batch_is_taken_from(data):
    assert summary(nn.Linear(4, 1), data).inputs == ((8, 4),)


def test_a_batch_is_taken_from_a_data_module():
    data = SyntheticRegressionData(torch.tensor([2.0, -3.4]), 4.2, batch_size=16)
    assert summary(nn.Linear(2, 1), data).inputs == ((16, 2),)


def test_what_gives_no_batch_or_is_no_model_is_refused():
    for data in ("x", 5, [], torch.nn.Linear, nn.Linear(4, 1)):
        with pytest.raises(DataError):
            summary(nn.Linear(4, 1), data)
    for model in (nn.Linear, None, 5, X):
        with pytest.raises(ModelError):
            summary(model, (8, 4))
    with pytest.raises(ModelError, match="the model first"):
        summary(SyntheticRegressionData(torch.ones(2), 0.0), nn.Linear(2, 1))


def test_data_that_do_not_fit_are_an_error_of_ours():
    with pytest.raises(BatchError, match="does not fit"):
        summary(nn.Sequential(nn.Linear(4, 1)), (8, 5))
    with pytest.raises(BatchError, match=r"cannot be run on \(8, 4\) float32: KeyError"):
        summary(Function(lambda self, X: {}["a"]), (8, 4))


# As data


def test_a_summary_is_a_table_in_a_notebook_and_plain_values():
    found = summary(nn.Sequential(nn.Linear(4, 1)), (8, 4))
    html = found._repr_html_()
    assert html.startswith("<p>Sequential on an input of (8, 4)</p><table>")
    assert "5 parameters" in html
    assert found.facts()["multiply_adds"] == 32
    assert list(found.to_pandas().loc["0", ["kind", "parameters"]]) == ["Linear", 5]


def test_long_names_are_shortened_where_a_terminal_has_no_room_for_them(monkeypatch):
    class WithANameThatIsLongerThanAnyoneWouldLike(nn.Linear):
        pass

    layer = WithANameThatIsLongerThanAnyoneWouldLike(4, 1)
    found = summary(nn.Sequential(OrderedDict(with_a_long_name_and_a_number_1=layer)), (8, 4))
    assert f"with_a_long_name_and_a_number_1  {type(layer).__name__}" in repr(found)
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, repr(found).split("\n"))) <= 80
    assert "number_1  WithAName" in repr(found)
