"""What takes part in the loss and is not trained is told, and nothing else is."""

import copy
import pickle
import types
import warnings

import pytest
import torch
from tests.small import Data, book_s_epoch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

import gradbook
from gradbook import SGD, Classifier, HyperParameters, Module, Sink, Trainer
from gradbook.errors import GradbookWarning

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long()
DATA = Data(X, Y, num_train=None, batch_size=8)


class Net(Classifier):
    """A network, and what a subclass adds to its output."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(3, 2)
        self.make()

    def make(self):
        pass

    def forward(self, X):
        return self.net(X) + self.more(X)

    def more(self, X):
        return 0


def told(model, data=None, trainer=None, **settings):
    """What a short training says."""
    model.board.display = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (trainer or Trainer(max_epochs=2, **settings)).fit(model, data or DATA)
    assert all(issubclass(warning.category, GradbookWarning) for warning in caught)
    assert "training_step" not in vars(model)
    return [str(warning.message) for warning in caught]


# What is not trained


class InList(Net):
    def make(self):
        self.layers = [nn.Linear(3, 4), nn.Linear(4, 2)]

    def more(self, X):
        return self.layers[1](self.layers[0](X))


class InDict(Net):
    def make(self):
        self.weights = {"W": torch.randn(3, 2, requires_grad=True)}

    def more(self, X):
        return X @ self.weights["W"]


class Holder:
    def __init__(self):
        self.net = nn.Linear(3, 2)


class InObject(Net):
    def make(self):
        self.holder = Holder()

    def more(self, X):
        return self.holder.net(X)


class InTuple(Net):
    def make(self):
        self.blocks = (nn.Sequential(nn.Linear(3, 2)),)

    def more(self, X):
        return self.blocks[0](X)


class InFunction(Net):
    def make(self):
        V = torch.randn(3, 2, requires_grad=True)
        self.function = lambda X: X @ V

    def more(self, X):
        return self.function(X)


W = torch.randn(3, 2, requires_grad=True)
HIDDEN = {f"number {i}": torch.randn(3, 2, requires_grad=True) for i in range(500)}
second = nn.Linear(3, 2)


class Global(Net):
    def more(self, X):
        return X @ W


class GlobalNet(Net):
    def more(self, X):
        return second(X)


class Unnamed(Net):
    def more(self, X):
        return X @ HIDDEN["number 7"]


class LeftOut(Net):
    def make(self):
        self.head = nn.Linear(3, 2)

    def more(self, X):
        return self.head(X)

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=self.lr)


def not_a_leaf():
    class NotALeaf(Net):
        def more(self, X):
            return X @ self.V

    model = NotALeaf()
    model.V = torch.randn(2, 3, requires_grad=True).T
    return model


class Deep(Net):
    def make(self):
        inner = types.SimpleNamespace(a=types.SimpleNamespace(b=nn.Linear(3, 2)))
        self.far = [[[[[inner]]]]]
        self.near = inner

    def more(self, X):
        return self.near.a.b(X)


CASES = {
    "deep": (Deep, ["near.a.b.weight", "near.a.b.bias"]),
    "list": (InList, ["layers[0].weight", "layers[1].bias", "nn.ModuleList"]),
    "dict": (InDict, ["weights['W']", "nn.ParameterDict"]),
    "object": (InObject, ["holder.net.weight", "as attributes in __init__"]),
    "tuple": (InTuple, ["blocks[0][0].weight", "nn.ModuleList"]),
    "function": (InFunction, ["function", "set tensors as attributes"]),
    "global": (Global, ["W", "set tensors as attributes"]),
    "global net": (GlobalNet, ["second.weight", "second.bias"]),
    "unnamed": (Unnamed, ["a tensor of shape (3, 2)"]),
    "left out": (LeftOut, ["head.weight", "head.bias", "give the optimizer all"]),
    "not a leaf": (not_a_leaf, ["what V was computed from"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_loss_depends_on_and_nobody_trains_is_told_once_with_a_remedy(name):
    make, texts = CASES[name]
    (message,) = told(make())
    for text in (*texts, "requires_grad_(False)"):
        assert text in message


@pytest.mark.parametrize("name", [name for name in CASES if name != "unnamed"])
def test_one_step_is_enough_for_what_has_a_name(name):
    assert len(told(CASES[name][0](), limit_batches=1, trainer=None)) == 1


def test_the_book_s_loop_says_it_too(undo_patches):
    book_s_epoch()
    assert len(told(InList())) == 1


def test_a_loop_that_computes_the_loss_itself_says_it_at_the_end():
    class Loop(Trainer):
        def fit_epoch(self):
            for X, y in self.train_dataloader:
                loss = self.model.loss(self.model(X), y)
                self.optim.zero_grad()
                loss.backward()
                self.optim.step()
                self.train_batch_idx += 1

    (message,) = told(InList(), trainer=Loop(max_epochs=1))
    assert "layers[0].weight" in message


def test_a_model_that_only_looks_like_ours_is_told_too():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.board = gradbook.ProgressBoard(display=False)
            self.net, self.layers = nn.Linear(3, 2), [nn.Linear(3, 2)]

        def training_step(self, batch):
            X, y = batch
            return F.cross_entropy(self.net(X) + self.layers[0](X), y)

        def validation_step(self, batch):
            pass

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    assert len(told(Own())) == 1


def test_layers_that_are_made_anew_in_each_step_are_told():
    class Forgetful(Net):
        def more(self, X):
            return nn.Linear(3, 2)(X)

    [message] = told(Forgetful())
    assert message.startswith("Forgetful makes new layers in each step, such as one with a")
    assert message.endswith("Make them once, in __init__, as attributes of the model.")


def test_many_are_not_all_listed():
    class Many(InList):
        def make(self):
            self.layers = [nn.Linear(3, 2) for _ in range(10)]

        def more(self, X):
            return sum(layer(X) for layer in self.layers)

    (message,) = told(Many())
    assert "and 14 more" in message


def test_an_optimizer_of_another_model_trains_nothing():
    class Stale(Net):
        def configure_optimizers(self):
            return SGD(copy.deepcopy(self).parameters(), self.lr)

    nothing, which = told(Stale())
    assert "learns nothing: none of the 2 tensors" in nothing
    assert "net.weight" in which


# What is as it should be


class Tied(Net):
    def make(self):
        self.V = torch.randn(2, 3, requires_grad=True)
        self.twin = nn.Linear(3, 2)
        self.twin.weight = self.net.weight
        self.V_t = self.V.T

    def more(self, X):
        return self.twin(X) + X @ self.V_t + X @ self.V.T


class Frozen(Net):
    def make(self):
        self.base = [nn.Linear(3, 2).requires_grad_(False)]

    def more(self, X):
        return self.base[0](X)


class Teacher(Net):
    def make(self):
        self.teachers = [nn.Linear(3, 2)]

    def loss(self, y_hat, y):
        with torch.no_grad():
            target = self.teachers[0](y_hat.new_ones(len(y), 3))
        return super().loss(y_hat, y) + F.mse_loss(y_hat, target)


class Groups(Net):
    def configure_optimizers(self):
        return torch.optim.AdamW([{"params": [self.net.weight]}, {"params": [self.net.bias]}])


class OwnSGD(HyperParameters):
    def __init__(self, params, lr):
        self.save_hyperparameters()

    def step(self):
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            param.grad = None


class WithOwnSGD(InList):
    def configure_optimizers(self):
        params = [p for layer in (self.net, *self.layers) for p in layer.parameters()]
        return OwnSGD(params, self.lr)


class Hidden:
    """An optimizer that keeps its parameters in a way of its own."""

    def __init__(self, model):
        self.mine = {"all": list(model.parameters())}

    def step(self):
        pass

    def zero_grad(self):
        pass


class WithHidden(Net):
    def configure_optimizers(self):
        return Hidden(self)


class TwoOptimizers(LeftOut):
    def make(self):
        super().make()
        self.second = torch.optim.SGD(self.head.parameters(), lr=0.1)


class Attacked(Net):
    """Trained on inputs that were changed, and on a change that is made anew in each step."""

    def training_step(self, batch):
        X, y = batch
        X.requires_grad_()
        self.delta = torch.zeros_like(X, requires_grad=True)
        self.cache = {"last": (X.detach() * 1).requires_grad_()}
        return self.loss(self(X + self.delta + self.cache["last"]), y)


class Checkpointed(Net):
    """Whose inside is computed anew in the backward pass, so that nobody can look into it."""

    def forward(self, X):
        return checkpoint(self.net, X.clone().requires_grad_(), use_reentrant=True)


class Recurrent(Net):
    def make(self):
        self.rnn = nn.GRU(3, 2, batch_first=True)

    def more(self, X):
        return self.rnn(X[:, None, :])[0][:, -1]


FINE = {
    "plain": Net,
    "tied": Tied,
    "frozen": Frozen,
    "teacher": Teacher,
    "groups": Groups,
    "own optimizer": WithOwnSGD,
    "hidden": WithHidden,
    "two optimizers": TwoOptimizers,
    "attacked": Attacked,
    "checkpointed": Checkpointed,
    "recurrent": Recurrent,
    "scratch": lambda: gradbook.SoftmaxRegressionScratch(3, 2, 0.1),
    "MLP": lambda: gradbook.MLP(2, 4, 0.1),
}


@pytest.mark.parametrize("name", FINE)
def test_no_false_alarm(name):
    assert told(FINE[name]()) == []


@pytest.mark.parametrize(
    "settings",
    [{"accumulate_grad_batches": 2}, {"precision": "bf16-mixed"}, {"gradient_clip_val": 1.0}],
    ids=str,
)
def test_no_false_alarm_of_a_setting(settings):
    assert told(Net(), **settings) == []


def test_no_false_alarm_in_the_book_s_loop(undo_patches):
    book_s_epoch()
    assert told(Net()) == []


def test_no_false_alarm_of_one_batch_that_is_always_the_same():
    class One(Data):
        def train_dataloader(self):
            return [(X.clone(), Y)]

    assert told(Attacked(), One(X, Y, num_train=None, batch_size=8)) == []


def test_no_false_alarm_of_an_optimizer_with_a_closure():
    class Loop(Trainer):
        def fit_epoch(self):
            for batch in self.train_dataloader:

                def closure(batch=batch):
                    self.optim.zero_grad()
                    loss = self.model.training_step(batch)
                    loss.backward()
                    return loss

                self.optim.step(closure)
                self.train_batch_idx += 1

    class Mine(Net):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), max_iter=2)

    assert told(Mine(), trainer=Loop(max_epochs=1)) == []


@pytest.mark.slow
def test_no_false_alarm_of_a_compiled_network():
    model = Net()
    model.compile(backend="eager")
    assert told(model) == []


def test_a_data_loader_s_batches_are_no_parameters():
    class Rows(Data):
        def get_dataloader(self, train):
            return DataLoader(list(zip(X, Y, strict=True)), 8)

    assert told(Attacked(), Rows()) == []


# What is left behind


def test_a_copy_made_before_the_first_step_has_steps_of_its_own():
    class Copier(Sink):
        def open(self, board, trainer):
            self.copy = copy.deepcopy(trainer.model)
            self.pickled = pickle.loads(pickle.dumps(trainer.model))

    sink, model = Copier(), gradbook.MLP(2, 4, 0.1)
    told(model, sinks=[sink])
    for other in (sink.copy, sink.pickled):
        assert other.training_step.__self__ is other


def test_a_copy_has_the_step_that_was_set_on_the_model_itself():
    model, copies = Net(), []
    step = model.training_step

    def own_step(batch):
        return step(batch)

    class Copier(Sink):
        def open(self, board, trainer):
            copies.append(copy.deepcopy(trainer.model))

    object.__setattr__(model, "training_step", own_step)
    Trainer(max_epochs=1, sinks=[Copier()]).fit(model, DATA)
    assert copies[0].training_step is own_step


def test_a_step_that_was_set_on_the_model_itself_stays_there():
    model, calls = Net(), []
    step = model.training_step
    object.__setattr__(model, "training_step", lambda batch: calls.append(1) or step(batch))
    Trainer(max_epochs=1).fit(model, DATA)
    assert len(calls) == 5
    assert "training_step" in vars(model)


def test_a_training_that_fails_leaves_the_model_as_it_was():
    class Failing(Net):
        def training_step(self, batch):
            raise KeyError("mine")

    model = Failing()
    with pytest.raises(KeyError):
        Trainer(max_epochs=1).fit(model, DATA)
    assert "training_step" not in vars(model)


def test_a_module_without_parameters_of_its_own_is_not_looked_at():
    class Given(Module):
        def __init__(self, weight):
            super().__init__()
            self.held = [weight]

        def training_step(self, batch):
            return (self.held[0] ** 2).sum()

        def validation_step(self, batch):
            pass

        def configure_optimizers(self):
            return SGD(self.held, 0.1)

    assert told(Given(torch.ones(2, requires_grad=True))) == []
