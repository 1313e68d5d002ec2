"""Buffers with another memory than one place for each value: sparse ones, and expanded ones."""

import pytest
import torch
from torch import nn

import gradbook
from gradbook import Classifier, DataModule, Trainer, checkpoint
from gradbook.errors import CheckpointError, ModelError
from gradbook.inspection.export import export, load_safetensors
from gradbook.resume.setup import form_of
from gradbook.resume.snapshot import load_parameters

pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse :UserWarning"),  # of a beta state
    pytest.mark.usefixtures("blank_figures"),
]

MATRIX = torch.eye(6) + torch.diag(torch.ones(5), 1)

BUFFERS = {
    "coo": MATRIX.to_sparse,
    "not coalesced": lambda: torch.sparse_coo_tensor(
        [[0, 0, 1, 5], [0, 0, 2, 5]], [1.0, 2.0, 1.0, 1.0], (6, 6)
    ),
    "csr": MATRIX.to_sparse_csr,
    "csc": MATRIX.to_sparse_csc,
    "bsr": lambda: MATRIX.to_sparse_bsr((2, 2)),
    "expanded": lambda: torch.full((1, 1), 0.3).expand(6, 6),
}


class Data(DataModule):
    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(0)
        self.X = torch.rand(36, 6, generator=generator)
        self.y = (self.X[:, 0] > 0.5).long()

    def get_dataloader(self, train):
        rows = slice(0, 24) if train else slice(24, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Net(Classifier):
    """Multiplies its inputs with a buffer, which steps may change in number and value."""

    def __init__(self, kind, persistent=True, changes=False, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.register_buffer("A", BUFFERS[kind](), persistent=persistent)
        self.net = nn.Linear(6, 2)

    def forward(self, X):
        dense = self.A.to_dense()
        if self.changes and self.training:
            dense = dense + 0.1 * X.mean()
            again = {} if self.A.layout is torch.strided else {"layout": self.A.layout}
            if self.kind == "bsr":
                again["blocksize"] = (2, 2)
            self.A = dense.to_sparse(**again) if again else dense
        return self.net(X @ dense.T)


def fit(epochs, *model, run=None, resume=None, **settings):
    gradbook.seed_everything(1)
    net, trainer = Net(*model), Trainer(epochs, run=run, **settings)
    trainer.fit(net, Data(), resume=resume)
    return net


@pytest.mark.slow
@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("kind", BUFFERS)
def test_a_training_with_such_a_buffer_is_resumed_to_the_last_bit(kind, persistent, changes):
    whole = fit(4, kind, persistent, changes)
    fit(2, kind, persistent, changes, run="runs")
    resumed = fit(4, kind, persistent, changes, run="runs", resume="runs/net-1")
    assert resumed.A.layout is whole.A.layout
    assert torch.equal(resumed.A.to_dense(), whole.A.to_dense())
    assert torch.equal(resumed.net.weight, whole.net.weight)


@pytest.mark.parametrize("kind", BUFFERS)
def test_the_best_epoch_s_buffer_is_taken(kind):
    buffers = []

    class Keep(gradbook.Sink):
        def end_epoch(self, trainer):
            buffers.append(trainer.model.A.to_dense().clone())

    gradbook.seed_everything(1)
    net = Net(kind, True, True)
    trainer = Trainer(3, keep_best=True, monitor="val_loss", mode="max", sinks=[Keep()])
    trainer.fit(net, Data())
    assert torch.equal(net.A.to_dense(), buffers[trainer.best.epoch - 1])


def test_the_layout_is_a_part_of_the_form():
    assert form_of(torch.zeros(2, 3)) == "(2, 3) float32"
    assert form_of(torch.zeros(2, 3).to_sparse()) == "(2, 3) float32 sparse_coo"


@pytest.mark.slow
def test_another_layout_than_the_model_s_is_refused():
    fit(1, "coo", run="runs")
    state = checkpoint.load("runs/net-1/checkpoints/last.pt")["model"]
    with pytest.raises(CheckpointError, match=r"A: \(6, 6\) float32 sparse_coo in the checkpoint"):
        load_parameters(Net("csr"), state)


@pytest.mark.parametrize("to", ["safetensors", "torch-export"])
@pytest.mark.parametrize("persistent", [False, True])
def test_a_sparse_buffer_is_not_exported(to, persistent, tmp_path):
    with pytest.raises(ModelError, match=r"Net\.A is a sparse tensor.*A\.to_dense\(\)"):
        export(Net("csr", persistent), tmp_path / "a", to=to, example_inputs=[torch.zeros(2, 6)])
    assert not (tmp_path / "a").exists()


def test_an_expanded_buffer_is_exported(tmp_path):
    net, X = Net("expanded"), torch.rand(2, 6)
    net.A = torch.full((1, 1), 0.7).expand(6, 6)
    export(net, tmp_path / "a", to="safetensors", example_inputs=[X])
    other = Net("expanded")
    load_safetensors(other, tmp_path / "a")
    assert torch.equal(net.A, other.A)
    torch.testing.assert_close(net(X), other(X))


@pytest.mark.parametrize("kind", ["coo", "expanded"])
def test_models_with_such_buffers_are_compared(kind):
    batch = next(iter(Data().train_dataloader()))
    assert "do the same" in str(gradbook.compare_models(Net(kind), Net(kind), batch))


def test_the_memory_of_a_sparse_buffer_is_that_of_indices_and_values():
    net = Net("coo")
    recorded = gradbook.graph(net, Data())
    [buffer] = [v for v in recorded.variables if v.name == "A"]
    assert buffer.num_bytes == 11 * (2 * 8 + 4)
    assert gradbook.memory(net, Data())
