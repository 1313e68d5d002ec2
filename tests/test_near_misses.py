"""Methods whose names are nearly those that a training calls."""

import warnings

import pytest
import torch
from torch import nn

import gradbook
from gradbook import Classifier, DataModule, Module, Trainer, add_to_class
from gradbook.errors import DataError, GradbookWarning, ModelError
from gradbook.near_misses import check_signatures, is_near, warn_of_near_misses

MODEL = (
    *("forward", "loss", "accuracy", "training_step", "validation_step"),
    "configure_optimizers",
)
DATA = ("get_dataloader", "train_dataloader", "val_dataloader")
TRAINER = ("prepare_data", "prepare_model", "prepare_batch", "fit_epoch", "clip_gradients")


def small_data():
    X = torch.randn(16, 3)
    y = (X[:, 0] > 0).long()

    class Data(DataModule):
        batch_size = 8

        def get_dataloader(self, train):
            return self.get_tensorloader((X, y), train)

    return Data()


class Net(Classifier):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(3, 2)


def said(model, data=None, trainer=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_near_misses(model, data, trainer)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("configure_optimizer", "configure_optimizers"),
        ("configure_optimisers", "configure_optimizers"),
        ("configure_optim", "configure_optimizers"),
        ("config_optimizers", "configure_optimizers"),
        ("configureOptimizers", "configure_optimizers"),
        ("configure_optmizers", "configure_optimizers"),
        ("foward", "forward"),
        ("losss", "loss"),
        ("trainstep", "training_step"),
        ("valstep", "validation_step"),
        ("froward", "forward"),
        ("Forward", "forward"),
        ("forwrad", "forward"),
        ("los", "loss"),
        ("looss", "loss"),
        ("Loss", "loss"),
        ("acuracy", "accuracy"),
        ("val_step", "validation_step"),
        ("valid_step", "validation_step"),
        ("validate_step", "validation_step"),
        ("validation_steps", "validation_step"),
        ("train_step", "training_step"),
        ("traning_step", "training_step"),
        ("trainingStep", "training_step"),
        ("get_dataloaders", "get_dataloader"),
        ("get_data_loader", "get_dataloader"),
        ("train_dataloaders", "train_dataloader"),
        ("training_dataloader", "train_dataloader"),
        ("validation_dataloader", "val_dataloader"),
        ("fit_epochs", "fit_epoch"),
        ("prepare_batches", "prepare_batch"),
        ("prepare_bacth", "prepare_batch"),
        ("clip_gradient", "clip_gradients"),
    ],
)
def test_a_misspelled_name_is_near(name, known):
    assert is_near(name, known)


HELPERS = """
    losses plots net2 forward_features forward_once forward2 forward_backward my_forward backward
    reward toward encode decode embed attend init_weights reset_parameters get_logits predict_proba
    step steps sample generate accuracies top5_accuracy accuracy_top5 loss_fn loss_mask aux_loss
    mse_loss lose lost less boss floss train_one test_step predict_step eval_step training_loss
    training_loop validation_loss validation_epoch train_epoch run_epoch evaluate evaluation
    test_dataloader dataloader get_dataset get_data load_data load_model prepare prepare_dataset
    prepare_datasets prepare_data_frame split_data fit_transform fit_all clip clip_weights
    configure configure_scheduler configure_model optimizers update_ema compute_loss num_steps
    describe summary state_size hidden_size is_training lr_at warm_up
"""


@pytest.mark.parametrize("name", HELPERS.split())
def test_a_usual_helper_s_name_is_near_to_nothing(name):
    assert not any(is_near(name, known) for known in (*MODEL, *DATA, *TRAINER))


def test_the_names_themselves_are_not_near_to_each_other():
    known = (*MODEL, *DATA, *TRAINER)
    assert not any(is_near(one, other) for one in known for other in known)


def test_no_method_of_the_library_s_own_is_near():
    own = {name for Class in (Classifier, DataModule, Trainer) for name in dir(Class)}
    near = {(name, known) for name in own for known in (*MODEL, *DATA, *TRAINER)}
    assert not [pair for pair in near if is_near(*pair)]


def test_a_training_says_it(tmp_path):
    class Mine(Net):
        def configure_optimizer(self):
            return torch.optim.Adam(self.parameters())

    with pytest.warns(GradbookWarning, match="'configure_optimizer'.*'configure_optimizers'"):
        Trainer(max_epochs=1).fit(Mine(), small_data())


def test_data_and_trainers_are_looked_at_too():
    class Data(DataModule):
        def train_dataloaders(self):
            pass

    class Mine(Trainer):
        def fit_epochs(self):
            pass

        def prepare_batches(self, batch):
            return batch

    found = " ".join(said(Net(), Data(), Mine(max_epochs=1)))
    for name in ("'train_dataloader'", "'fit_epoch'", "'prepare_batch'"):
        assert f"Did you mean {name}?" in found


def test_what_add_to_class_has_added_is_looked_at(undo_patches):
    @add_to_class(Module)
    def foward(self, X):
        return X

    with pytest.warns(GradbookWarning, match=r"Module defines.*'foward'.*'forward'"):
        Trainer(max_epochs=1).fit(Net(), small_data())


def test_a_method_that_the_learner_s_code_calls_is_a_helper():
    class Mine(Net):
        def training_step(self, batch):
            return next(self.val_step(part) for part in (batch,))

        def val_step(self, batch):
            return super().training_step(batch)

    assert said(Mine()) == []


def test_a_method_that_the_trainer_s_own_loop_calls_is_a_helper():
    class Mine(Net):
        def train_step(self, batch):
            return self.training_step(batch)

    class Loop(Trainer):
        def fit_epoch(self):
            for batch in self.train_dataloader:
                self.model.train_step(batch)

    assert said(Mine(), None, Loop(max_epochs=1)) == []


def test_a_method_beside_the_one_it_is_near_to_is_a_helper():
    class Mine(Net):
        def training_step(self, batch):
            return super().training_step(batch)

        def train_step(self, batch):
            pass

    assert said(Mine()) == []


def test_a_method_that_a_subclass_misspells_is_told_though_its_base_has_the_right_one():
    class Base(Net):
        def training_step(self, batch):
            return super().training_step(batch)

    class Mine(Base):
        def train_step(self, batch):
            pass

    assert len(said(Mine())) == 1


def test_the_book_s_models_are_fine():
    models = [
        gradbook.LinearRegressionScratch(2, 0.1),
        gradbook.SoftmaxRegression(3, 0.1),
        gradbook.MLP(3, 4, 0.1),
    ]
    for model in models:
        assert said(model, gradbook.SyntheticRegressionData(), Trainer(max_epochs=1)) == []


def with_method(base, name, method):
    return type("Mine", (base,), {name: method})()


@pytest.mark.parametrize(
    ("place", "name", "method", "told"),
    [
        (0, "training_step", lambda self, batch, idx: None, r"\(batch, idx\).*\(batch\)"),
        (0, "validation_step", lambda self: None, r"\(\), .*`def validation_step\(self, ba"),
        (0, "configure_optimizers", lambda self, lr: None, r"`def configure_optimizers\(self\)`"),
        (0, "loss", lambda self, y: None, r"`def loss\(self, y_hat, y\)`"),
        (1, "get_dataloader", lambda self: None, r"`def get_dataloader\(self, train\)`"),
        (1, "get_dataloader", lambda self, is_train: None, r"\(is_train\).*\(train\)"),
        (2, "fit_epoch", lambda self, epoch: None, r"`def fit_epoch\(self\)`"),
    ],
)
def test_a_method_that_cannot_be_called_is_told_before_the_training(place, name, method, told):
    things = [Net(), small_data(), Trainer(max_epochs=1, display=False)]
    base = (Net, DataModule, Trainer)[place]
    if base is Trainer:
        things[2] = type("Mine", (Trainer,), {name: method})(max_epochs=1, display=False)
    else:
        things[place] = with_method(base, name, method)
    with pytest.raises((ModelError, DataError), match=rf"Mine\.{name} takes .*{told}"):
        things[2].fit(*things[:2])


@pytest.mark.parametrize("method", [lambda self, batch, idx=0: None, lambda self, *args: None])
def test_a_method_that_takes_more_is_fine(method):
    check_signatures(with_method(Net, "training_step", method), small_data(), Trainer(max_epochs=1))
