"""Trainings whose gradients are watched, and what was seen of them."""

import warnings

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack as function_modes

from gradbook import Classifier, DataModule, Trainer, seed_everything
from gradbook.errors import GradbookWarning
from gradbook.watching.gradients import GradientWatcher


class Images(DataModule):
    """Ten classes of numbers from 0 to 1, most of them small, as the pixels of an image are."""

    def __init__(self, num_train=1280, num_features=48, batch_size=32):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(1)
        means = torch.rand(10, num_features, generator=generator) ** 2
        self.y = torch.randint(0, 10, (num_train + 64,), generator=generator)
        noise = torch.rand(num_train + 64, num_features, generator=generator)
        self.X = (0.7 * means[self.y] + 0.3 * noise).clamp(0, 1)

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Deep(Classifier):
    """Layers of equal width with an activation function between them."""

    def __init__(self, function=nn.Sigmoid, num_layers=10, width=64, std=None, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        layers, inputs = [], 48
        for _ in range(num_layers - 1):
            layers += [nn.Linear(inputs, width), function()]
            inputs = width
        self.net = nn.Sequential(*layers, nn.Linear(inputs, 10))
        if std is not None:
            for layer in self.net:
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=std)


def fit(model, data=None, max_epochs=1, every_n_steps=None, seed=0, **settings):
    """Trains and watches; the warnings are what other tests ask for."""
    seed_everything(seed)
    sinks = [*settings.pop("sinks", []), GradientWatcher(every_n_steps)]
    trainer = Trainer(max_epochs, sinks=sinks, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradbookWarning)
        trainer.fit(model, data or Images())
    return trainer


def kinds(trainer):
    return {symptom.kind for symptom in trainer.gradients.findings}


def row_of(trainer, layer, epoch=1):
    (row,) = [r for r in trainer.gradients.rows if (r.layer, r.epoch) == (layer, epoch)]
    return row


def hooks_left(model):
    """What a watcher may have left on a model or in PyTorch."""
    return [
        *torch_module._global_forward_hooks,
        *torch_module._global_forward_pre_hooks,
        *function_modes(),
        *[hook for m in model.modules() for hook in (*m._forward_hooks, *m._forward_pre_hooks)],
        *[hook for p in model.parameters() for hook in (p._post_accumulate_grad_hooks or ())],
    ]
