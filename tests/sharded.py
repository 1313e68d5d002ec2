"""Trainings of which each process holds a part of the model, to be compared with whole ones.

Started by `torchrun`, this script does what its first word says, and leaves what came out in a file
for each rank.
"""

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
    for name, Model in ODD.items():
        gradbook.seed_everything(1)
        out[name] = go_on(model=Model(), max_epochs=2)
    for name, Model in REFUSED.items():
        out[name] = refused(model=Model())
    model = Deep()
    go_on(model=model, max_epochs=1)
    out["held"] = model.num_held / sum(parameter.numel() for parameter in model.parameters())
    return out


def refused(**settings):
    """What is said of a training that does not come to its end."""
    try:
        go_on(max_epochs=1, **settings)
    except (gradbook.errors.GradbookError, ConnectionError) as error:
        return str(error)


# What is whole for one process, and must not differ where it is in parts


class Small(Net):
    """Two layers, and a weight of its own."""

    def __init__(self):
        super().__init__(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
        self.own = nn.Parameter(torch.randn(4, 3))

    def forward(self, X):
        return super().forward(X) + X @ self.own


class Limits(nn.Linear):
    """A layer that changes its weight when it is called."""

    def forward(self, X):
        self.weight.data.clamp_(-0.3, 0.3)
        return super().forward(X)


class ChangedInPlace(Small):
    def __init__(self):
        super().__init__()
        self.net[0] = Limits(4, 16)

    def training_step(self, batch):
        with torch.no_grad():
            self.own.clamp_(-0.3, 0.3)
        return super().training_step(batch)


class Hooked(Small):
    def __init__(self):
        super().__init__()
        self.net[0].weight.register_hook(lambda gradient: gradient / 2)


class SharingMemory(Small):
    def __init__(self):
        super().__init__()
        self.view = nn.Parameter(self.own.data.view(3, 4))

    def forward(self, X):
        return super().forward(X) + X @ self.view.T


class Marked(Small):
    def __init__(self):
        super().__init__()
        self.own.is_slow = True

    def configure_optimizers(self):
        kinds = [[p for p in self.parameters() if hasattr(p, "is_slow") is k] for k in (0, 1)]
        groups = [{"params": kind, "lr": lr} for kind, lr in zip(kinds, (0.1, 0.001), strict=True)]
        return torch.optim.SGD(groups)


class ByNorm(torch.optim.SGD):
    """Takes steps as long as the norms of the gradients say, which it reads as numbers."""

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter -= parameter.grad * (0.1 / (1 + parameter.grad.norm().item()))


class OfItsOptimizer(Small):
    def configure_optimizers(self):
        return ByNorm(self.parameters())


ODD = {each.__name__: each for each in (ChangedInPlace, Hooked, SharingMemory, Marked)}
ODD["OfItsOptimizer"] = OfItsOptimizer


# What is refused


class Mixing(Deep):
    """Uses the weight of a layer without calling it."""

    def forward(self, X):
        return super().forward(X) + nn.functional.linear(self.net(X), self.head.weight)


class InitializedLate(Small):
    def configure_optimizers(self):
        nn.init.xavier_uniform_(self.own)
        return super().configure_optimizers()


REFUSED = {"Mixing": Mixing, "InitializedLate": InitializedLate}


class TwoOptimizers(Small):
    """Its second optimizer is an attribute, and has its own state."""

    def configure_optimizers(self):
        self.second = torch.optim.Adam([self.own], lr=0.1)
        return torch.optim.Adam(self.net.parameters(), lr=0.1)

    def training_step(self, batch):
        self.second.zero_grad()
        self.loss(self(batch[0]), batch[1]).backward()
        self.second.step()
        return self.loss(self.net(batch[0]), batch[1])


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
    for name, settings in {"": {"max_epochs": 5}, "kept": {"run": folder / "optimizers"}}.items():
        gradbook.seed_everything(1)
        out[f"optimizers {name}".strip()] = go_on(model=TwoOptimizers(), **settings)
    return out | {"whole": go_on(dropout=0.5, max_epochs=5)}


def resume(folder, strategy="fsdp"):
    """Goes on with what was kept."""
    path, out = folder / "optimizers" / "two-optimizers-1", {}
    if path.exists():
        out["optimizers"] = go_on(strategy, model=TwoOptimizers(), resume=path, max_epochs=5)
    return out | {
        "plain": go_on(strategy, resume=folder / "plain" / "deep-1", max_epochs=5, keep_best=True),
        "random": go_on(strategy, 0.5, resume=folder / "random" / "deep-1", max_epochs=5),
    }


def apart(folder):
    """Each rank has a folder of its own in the same place, as on machines that share none."""
    from gradbook import shards
    from gradbook.distributed import group

    class Elsewhere:
        """PyTorch's functions, but that a path leads to a folder of this machine."""

        def __getattr__(self, name):
            return getattr(torch.distributed, name)

        def broadcast_object_list(self, held):
            torch.distributed.broadcast_object_list(held)
            if group().rank and isinstance(held[0], Path):
                held[0] = folder / "other-machine" / held[0].name
                held[0].mkdir(parents=True)

    shards.dist = Elsewhere()
    try:
        return go_on(run=folder / "runs")
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
