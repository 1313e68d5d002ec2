"""Trainings that several processes do together, and one alone, to be compared.

Started by `torchrun`, this script does them all and leaves what came out in a file for each rank.
"""

import shutil
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from tests.small import Blobs, Data, Given, Net, OwnSGD, Scratch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gradbook
from gradbook import execution
from gradbook.datasets import SyntheticRegressionData
from gradbook.models import recurrent
from gradbook.models import seq2seq as translation
from gradbook.models import transformer as attending

CASES = {}


def case(make):
    """A function that returns a model, data and the settings of a trainer."""
    CASES[make.__name__] = make
    return make


def blobs(num_train=25, num_val=9, batch_size=8):
    # The last batch has one row: fewer than there are ranks.
    return Blobs(num_train, num_val, batch_size)


def tokens(num_rows=22, vocab_size=6):
    X = torch.randint(0, vocab_size, (num_rows, 5))
    return Data(X, (X + 1) % vocab_size, num_train=16, batch_size=6)


def sentences(vocab_size=8, pad=0):
    """Sources and targets of one to five tokens, with padding behind."""
    lengths = torch.arange(22) % 5 + 1
    inside = torch.arange(5) < lengths[:, None]
    src, tgt = (torch.randint(1, vocab_size, (22, 5)) * inside for _ in range(2))
    shifted = torch.cat([torch.full((22, 1), 7), tgt[:, :-1]], dim=1)
    return Data(src, shifted, lengths, tgt, num_train=16, batch_size=6)


@case
def mlp():
    return gradbook.MLP(num_outputs=3, num_hiddens=8, lr=0.1), blobs(), {}


@case
def softmax():
    return gradbook.SoftmaxRegression(num_outputs=3, lr=0.1), blobs(), {}


@case
def softmax_scratch():
    model = gradbook.SoftmaxRegressionScratch(num_inputs=4, num_outputs=3, lr=0.1)
    return model, blobs(), {}


def lines():
    return SyntheticRegressionData(
        torch.tensor([2.0, -3.4]), 4.2, num_train=30, num_val=11, batch_size=8
    )


@case
def linear():
    return gradbook.LinearRegression(lr=0.03), lines(), {}


@case
def linear_scratch():
    return gradbook.LinearRegressionScratch(2, lr=0.03), lines(), {}


@case
def lenet():
    X = torch.randn(10, 1, 28, 28)
    return gradbook.LeNet(lr=0.1), Data(X, torch.arange(10), num_train=7, batch_size=5), {}


@case
def language_model_scratch():
    model = recurrent.RNNLMScratch(recurrent.RNNScratch(6, 5, sigma=0.3), 6, lr=0.5)
    return model, tokens(), {"gradient_clip_val": 1}


@case
def gru():
    model = recurrent.RNNLM(recurrent.GRU(6, 5), 6, lr=0.5)
    model(torch.zeros(1, 1))  # its lazy layer's numbers are drawn now
    return model, tokens(), {"gradient_clip_val": 1}


class GRUDecoder(translation.Decoder):
    """Goes on from the last state of the encoder. Book: 10.7.2."""

    def __init__(self, vocab_size, embed_size, num_hiddens):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = recurrent.GRU(embed_size, num_hiddens)
        self.dense = nn.Linear(num_hiddens, vocab_size)

    def init_state(self, enc_all_outputs, *args):
        return enc_all_outputs[1]

    def forward(self, X, state):
        outputs, state = self.rnn(self.embedding(X.T), state)
        return self.dense(outputs).swapaxes(0, 1), state


@case
def seq2seq():
    encoder = translation.Seq2SeqEncoder(8, 6, 5, 1)
    decoder = GRUDecoder(8, 6, 5)
    model = translation.Seq2Seq(encoder, decoder, tgt_pad=0, lr=0.01)
    return model, sentences(), {"gradient_clip_val": 1}


class Attending(gradbook.Classifier):
    """Sums what a transformer's encoder makes of a sentence."""

    def __init__(self, lr=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = attending.TransformerEncoder(8, 8, 16, 2, 1, 0.0)
        self.head = nn.Linear(8, 3)

    def forward(self, X, valid_lens):
        return self.head(self.encoder(X, valid_lens).mean(dim=1))


@case
def transformer():
    lengths = torch.arange(22) % 5 + 1
    data = Data(torch.randint(0, 8, (22, 5)), lengths, lengths % 3, num_train=16, batch_size=6)
    return Attending(), data, {"gradient_clip_val": 1, "optimizer": "adam"}


class OwnModel(Scratch):
    """Tensors of its own, and an optimizer of its own."""

    def configure_optimizers(self):
        return OwnSGD([self.w, self.b], self.lr)


class OwnTrainer(gradbook.Trainer):
    """The loop as a reader of the book writes it, with two backward passes for a step."""

    def fit_epoch(self):
        self.model.train()
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            self.optim.zero_grad()
            half = loss / 2
            half.backward(retain_graph=True)
            half.backward()
            with torch.no_grad():
                self.clip_gradients(2.0, self.model)
                self.optim.step()
            self.train_batch_idx += 1
        self.model.eval()
        for batch in self.val_dataloader:
            with torch.no_grad():
                self.model.validation_step(self.prepare_batch(batch))
            self.val_batch_idx += 1


@case
def own_loop_and_optimizer():
    X = torch.randn(27, 2)
    y = X @ torch.tensor([[2.0], [-1.0]])
    return OwnModel(), Data(X, y, num_train=19, batch_size=6), {"Trainer": OwnTrainer}


@case
def accumulation_and_momentum():
    settings = {"accumulate_grad_batches": 3, "optimizer": "sgd", "momentum": 0.9}
    return Net(nn.LazyLinear(3)), blobs(), {**settings, "gradient_clip_val": 0.5}


@case
def schedule_and_patience():
    settings = {"scheduler": "onecycle", "patience": 1, "min_delta": 0.02, "keep_best": True}
    return Net(nn.LazyLinear(3), lr=0.5), blobs(), {**settings, "max_epochs": 6}


class Langevin(torch.optim.SGD):
    """Adds noise to each step."""

    def step(self):
        super().step()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter += 0.01 * torch.randn(parameter.shape)


def go_noisily():
    """What a training comes to whose optimizer draws random numbers."""
    gradbook.seed_everything(1)
    model = Net(nn.Linear(4, 3))
    model.configure_optimizers = lambda: Langevin(model.parameters(), lr=0.1)
    gradbook.Trainer(2, display="off").fit(model, blobs())
    return model.net[0].weight.detach()


@case
def limited_batches():
    return Net(nn.LazyLinear(3)), blobs(), {"limit_batches": 2, "optimizer": "adamw"}


@case
def loaders_of_pytorch():
    X, y = torch.randn(25, 4), torch.arange(25) % 3
    loader = DataLoader(TensorDataset(X, y), 8, shuffle=True)
    val = DataLoader(TensorDataset(X, y), 8)
    return Net(nn.LazyLinear(3)), Given(loader, val), {}


class OfDicts(gradbook.Module):
    """Takes batches that have names."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(2, 1)

    def training_step(self, batch):
        loss = ((self.net(batch["X"]) - batch["y"]) ** 2).mean()
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch):
        self.plot("loss", ((self.net(batch["X"]) - batch["y"]) ** 2).mean(), train=False)


@case
def batches_with_names():
    rows = [{"unit": "m", "X": torch.randn(n, 2), "y": torch.randn(n, 1)} for n in (6, 7, 3)]
    return OfDicts(), Given(rows, rows[:1]), {}


class OfPairs(gradbook.Classifier):
    """Takes batches whose inputs are a pair; its last layers get no gradient."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def forward(self, pair):
        return self.net(self.frozen(torch.cat(pair, dim=1)))


@case
def nested_batches():
    batches = [((torch.randn(n, 2), torch.randn(n, 2)), torch.arange(n) % 3) for n in (6, 5)]
    return OfPairs(), Given(batches, batches), {"weight_decay": 0.1}


@case
def double_precision_beside_single():
    net = Net(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    net.scale = torch.ones(4, dtype=torch.float64, requires_grad=True)
    net.forward = lambda X: net.net((X.double() * net.scale).float())
    return net, blobs(), {}


@case
def ignored_labels():
    data = blobs(24, 8)
    data.y[::3] = -100
    data.y[:6] = -100
    return Net(nn.LazyLinear(3)), data, {}


@case
def stopped_by_a_sink():
    class Stops(gradbook.record.Sink):
        def end_epoch(self, trainer):
            if trainer.epoch == 1:
                trainer.stop("enough")

    return Net(nn.LazyLinear(3)), blobs(), {"sinks": [Stops()], "max_epochs": 4}


@case
def diverging():
    model = Net(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3), lr=1e30)
    return model, blobs(), {"watch": "gradients", "max_epochs": 3}


#: Cases in 16 bits, whose numbers are near those of one process only.
MIXED = {}


def mixed(make):
    MIXED[make.__name__] = make
    return make


def smooth():
    """A model without the corners of a ReLU, at which a last digit may decide."""
    return Net(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


@mixed
def bfloat16():
    return smooth(), blobs(), {"precision": "bf16-mixed"}


@mixed
def bfloat16_with_accumulation_and_clipping():
    settings = {"accumulate_grad_batches": 3, "gradient_clip_val": 0.1, "momentum": 0.9}
    return smooth(), blobs(), {"precision": "bf16-mixed", **settings}


@mixed
def float16():
    return smooth(), blobs(), {"precision": "16-mixed"}


COMPILER = shutil.which("g++") or shutil.which("clang++")
#: Cases that are compiled. PyTorch keeps threads for it, so that no test does it in its process.
COMPILED = {}


def compiled(make):
    COMPILED[make.__name__] = make
    return make


@compiled
def compiled_alone():
    return smooth(), blobs(), {"compile": True}


@compiled
def compiled_bfloat16_with_accumulation_and_clipping():
    model, data, settings = bfloat16_with_accumulation_and_clipping()
    return model, data, {"compile": True, **settings}


def float16_is_offered():
    """While it lasts, the CPU trains in float16, too, which only accelerators are good at."""
    return patch.object(execution, "_is_offered", return_value=True)


def overflowing():
    """A training in float16 in which one row's gradient is too large for it."""
    data = blobs(24, 8)
    data.X[3] *= 200
    return Net(nn.Linear(4, 3)), data, {"precision": "16-mixed"}


def points_of(model):
    """The curves on a model's board."""
    return {label: [(p.x, p.y) for p in points] for label, points in model.board.data.items()}


def train(make, **more):
    """Does one of the cases, with more settings, and returns what came out of it."""
    gradbook.seed_everything(1)
    model, data, settings = make()
    Trainer = settings.pop("Trainer", gradbook.Trainer)
    trainer = Trainer(**{"max_epochs": 2, "display": "off", **settings, **more})
    model.plot_train_per_epoch = 3
    trainer.fit(model, data)
    parameters = [
        *model.parameters(),
        *(p for p in [getattr(model, "scale", None)] if p is not None),
    ]
    return {
        "rows": trainer.history.rows,
        "points": points_of(model),
        "parameters": [each.detach() for each in parameters],
        "status": trainer.status,
        "best": trainer.best.epoch,
        "num_findings": len(trainer.findings),
        "postmortem": None if trainer.postmortem is None else str(trainer.postmortem),
        "reports": list(trainer.reports),
        "scale": None
        if trainer.arithmetic.scaler is None
        else trainer.arithmetic.scaler.get_scale(),
    }


# What only several processes do


class Keeps(gradbook.record.Sink):
    """Keeps a checkpoint after one step, and may cut the epoch there."""

    def __init__(self, step, path, cuts=False):
        self.step, self.path, self.cuts = step, path, cuts

    def end_step(self, trainer):
        if trainer.num_steps == self.step:
            if trainer.training.group.speaks:
                trainer.save_checkpoint(self.path)
            if self.cuts:
                trainer.stop("far enough", within_epoch=True)


class OwnNorm(nn.Module):
    """A BatchNorm from scratch, whose average is a plain attribute."""

    def __init__(self):
        super().__init__()
        self.moving_mean = torch.zeros(3)

    def forward(self, X):
        if self.training:
            self.moving_mean = 0.9 * self.moving_mean + 0.1 * X.mean(dim=0).detach()
        return X - self.moving_mean


def with_numbers_of_their_own():
    """A model whose steps draw random numbers and average what they see."""
    gradbook.seed_everything(1)
    layers = nn.LazyLinear(8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.LazyLinear(3)
    return Net(*layers), blobs(42, 9)


def go_on(sinks=(), resume=None, run=None, max_epochs=3, **settings):
    """Trains such a model, perhaps from a checkpoint on."""
    model, data = with_numbers_of_their_own()
    trainer = gradbook.Trainer(max_epochs, display="off", sinks=list(sinks), run=run, **settings)
    trainer.fit(model, data, resume=resume)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return {"rows": trainer.history.rows, "points": points_of(model), "tensors": tensors}


def go_on_plainly(sinks=(), resume=None):
    """The same of a model that draws no numbers, which any number of processes trains alike."""
    gradbook.seed_everything(1)
    model, data = Net(nn.Linear(4, 3)), blobs(42, 9)
    trainer = gradbook.Trainer(3, display="off", sinks=list(sinks))
    trainer.fit(model, data, resume=resume)
    return {"rows": trainer.history.rows, "points": points_of(model)}


@contextmanager
def refused(out, name):
    """Keeps what is said of a training that is refused."""
    try:
        yield
    except (gradbook.errors.ConfigError, gradbook.errors.ModelError) as error:
        out[name] = str(error)


def compile_all(path):
    """Does the cases that are compiled, where there is a compiler."""
    if COMPILER:
        torch.save({name: train(make) for name, make in COMPILED.items()}, path)


def main(folder):
    """Does all of it, in this rank."""
    from gradbook.distributed import group

    rank, size = group().rank, group().size
    out = {"cases": {name: train(make) for name, make in CASES.items()}}
    with float16_is_offered():
        out["mixed"] = {name: train(make) for name, make in MIXED.items()}
        out["overflowing"] = train(overflowing)
    path = folder / "step-8.ckpt"
    out["whole"] = go_on([Keeps(8, path)], run=folder / "runs")
    out["resumed"] = go_on(resume=path)
    plain = folder / "steps-of-a-plain-model.ckpt"
    out["plain"] = go_on_plainly([Keeps(8, plain)])
    cut = go_on([Keeps(2, folder / "cut.ckpt", cuts=True)])
    out["cut"] = cut["rows"], {label: len(points) for label, points in cut["points"].items()}

    out["noise"] = go_noisily()
    model = Net(nn.Linear(4, 3), OwnNorm())
    gradbook.Trainer(1, display="off").fit(model, blobs(24, 8))
    out["moving_mean"] = model.net[1].moving_mean

    with refused(out, "sync_batchnorm"):
        go_on(sync_batchnorm=True)

    gradbook.seed_everything(1 + rank)
    with refused(out, "other data"):
        gradbook.Trainer(1, display="off").fit(Net(nn.Linear(4, 3)), blobs())

    gradbook.seed_everything(1)
    with refused(out, "other epochs"):
        gradbook.Trainer(1 + rank, display="off").fit(Net(nn.Linear(4, 3)), blobs())

    gradbook.seed_everything(1)
    few = Net(nn.Linear(4, 3))
    gradbook.Trainer(1, display="off").fit(few, blobs(6, 3, batch_size=2 * size - 1))
    unfit = Net(nn.Linear(4, 3))
    unfit.loss_weight = lambda batch: 1.0
    with refused(out, "weights"):
        gradbook.Trainer(1, display="off").fit(unfit, blobs())
    torch.save(out, folder / f"rank-{rank}.pt")
    compile_all(folder / f"compiled-{rank}-of-{size}.pt")


if __name__ == "__main__":
    warnings.filterwarnings("always")
    do = compile_all if sys.argv[1].endswith(".pt") else main
    do(Path(sys.argv[1]))
