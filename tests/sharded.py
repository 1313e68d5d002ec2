"""Trainings of which each process holds a part of the model, to be compared with whole ones.

Started by `torchrun`, this script does what its first word says, and leaves what came out in a file
for each rank.
"""

import os
import sys
import warnings
from pathlib import Path

import torch
from tests import together
from tests.small import Blobs, Net
from torch import nn

import gradbook
from gradbook.errors import StorageError
from gradbook.parts import part_here


class Deep(Net):
    """Layers of all kinds: repeated, shared, listed besides, and a single number.

    A `dropout` draws numbers, and goes with layers that average what they see.
    """

    def __init__(self, dropout=0.0, lr=0.01):
        super().__init__(nn.LazyLinear(16), nn.ReLU())
        self.save_hyperparameters()
        self.blocks = nn.ModuleList(self.block(dropout) for _ in range(9))
        self.tied = nn.Linear(16, 16)
        self.tied.weight = self.blocks[0][0].weight
        self.head = nn.Linear(16, 3)
        self.scale, self.listed = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.ones(3))
        self.list = [self.listed]

    def block(self, dropout):
        norm = nn.BatchNorm1d(16) if dropout else nn.LayerNorm(16)
        return nn.Sequential(nn.Linear(16, 16), norm, nn.Dropout(dropout), nn.ReLU())

    def forward(self, X):
        H = self.net(X)
        for block in self.blocks:
            H = H + block(H)
        return self.head(self.tied(H)) * self.scale.exp() * self.list[0]

    def configure_optimizers(self):
        self.num_held = sum(part_here(parameter).numel() for parameter in self.parameters())
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def go_on(strategy="fsdp", dropout=0.0, model=None, resume=None, max_epochs=3, **settings):
    """Trains such a model, perhaps from a checkpoint on, and returns what came out of it."""
    gradbook.seed_everything(1)
    model, data = model or Deep(dropout), Blobs(42, 9)
    trainer = gradbook.Trainer(max_epochs, display="off", strategy=strategy, **settings)
    trainer.fit(model, data, resume=resume)
    return {
        "rows": trainer.history.rows,
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "best": trainer.best.epoch,
        "best_tensors": trainer.training.best_model,
    }


#: Cases of `together` in 16 bits.
MIXED = {name: together.MIXED[name] for name in together.MIXED if name != "float16"}


def cases(folder):
    """Every model of the library, and those that a learner writes."""
    out = {
        name: together.train(make, strategy="fsdp", watch=())  # a watcher needs the whole
        for name, make in {**together.CASES, **MIXED}.items()
    }
    clipped = {"gradient_clip_val": 0.1, "keep_best": True, "accumulate_grad_batches": 2}
    out["clipped"] = go_on(**clipped)
    out["again"] = twice()
    model = Deep()
    go_on(model=model, max_epochs=1)
    out["held"] = model.num_held / sum(parameter.numel() for parameter in model.parameters())
    try:
        go_on(model=Mixing(), max_epochs=1)
    except gradbook.errors.ModelError as error:
        out["mixing"] = str(error)
    return out


class Mixing(Deep):
    """Uses the weight of a layer without calling it."""

    def forward(self, X):
        return super().forward(X) + nn.functional.linear(self.net(X), self.head.weight)


def twice():
    """A second training of the same model by other settings."""
    gradbook.seed_everything(1)
    model = Deep()
    go_on(model=model, max_epochs=1)
    return go_on(model=model, gradient_clip_val=0.01, gradient_clip_algorithm="value")


def keep(folder):
    """Runs that are to go on, and what they come to without a stop."""
    out = {
        "plain": go_on(run=folder / "plain", keep_best=True),
        "random": go_on(dropout=0.5, run=folder / "random"),
    }
    return out | {"whole": go_on(dropout=0.5, max_epochs=5)}


def resume(folder, strategy="fsdp"):
    """Goes on with what was kept."""
    return {
        "plain": go_on(strategy, resume=folder / "plain" / "deep-1", max_epochs=5, keep_best=True),
        "random": go_on(strategy, 0.5, resume=folder / "random" / "deep-1", max_epochs=5),
    }


def apart(folder):
    """Each rank works in a folder of its own, as on machines that share none."""
    from gradbook.distributed import group

    place = folder / f"machine-{group().rank}"
    place.mkdir()
    os.chdir(place)
    try:
        return go_on(run="runs")
    except StorageError as error:
        return str(error)


def main(action, folder, *words):
    """Does it, in this rank."""
    from gradbook.distributed import group

    actions = {"cases": cases, "keep": keep, "resume": resume, "apart": apart}
    out = actions[action](folder, *words)
    torch.save(out, folder / f"{'-'.join([action, *words])}-of-{group().size}-{group().rank}.pt")


if __name__ == "__main__":
    from tests import sharded

    warnings.filterwarnings("always")
    sharded.main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])  # its classes have their true name
