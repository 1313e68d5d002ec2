"""Runs to look at: of pictures in three classes, and of a plane; and a learner's own file."""

from pathlib import Path

import gradbook
from gradbook.cli import classes
from gradbook.inspection import inspect

FILE = """
import torch
from gradbook import DataModule, MLP

NAMES = ["<b>top</b>", "middle", "bottom"]


class Pictures(DataModule):
    '''Pictures of six by six pixels with a bright line; where it is tells the class.'''

    def __init__(self, batch_size=16):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(0)
        self.y = torch.arange(90) % 3
        self.X = 0.7 * torch.rand(90, 1, 6, 6, generator=generator)
        self.X[torch.arange(90), 0, 2 * self.y] += 0.3

    def get_dataloader(self, train):
        rows = slice(0, 40) if train else slice(40, None)
        return self.get_tensorloader((self.X, self.y), train, rows)

    def text_labels(self, indices):
        return [NAMES[int(index)] for index in indices]


class MyNet(MLP):
    '''A class of a learner's own.'''
"""


def write_file(folder: Path) -> Path:
    """The file of the classes."""
    path = folder / "pictures.py"
    path.write_text(FILE)
    return path


def class_of(path: Path, name: str) -> type:
    """A class of the file, as the command would load it."""
    kind = classes.DATA_SET if name == "Pictures" else classes.MODEL
    return classes.find(f"{path}:{name}", kind).Class


def train_pictures(
    root: Path, path: Path, model: str | None = None, max_epochs: int = 3, **settings
):
    """A run of an MLP on pictures; returns its folder."""
    gradbook.seed_everything(3)
    Model = gradbook.MLP if model is None else class_of(path, model)
    trainer = gradbook.Trainer(max_epochs, run=root, display="off", **settings)
    trainer.fit(Model(3, 8, lr=0.05), class_of(path, "Pictures")())
    return trainer.training.recorder[0].folder


def train_plane(root: Path):
    """A run of a linear regression; returns its folder."""
    gradbook.seed_everything(3)
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32, batch_size=16)
    trainer = gradbook.Trainer(2, run=root, display="off")
    trainer.fit(gradbook.LinearRegression(lr=0.03), data)
    return trainer.training.recorder[0].folder


def report_of(folder: Path, path: Path | None = None, train: bool = False):
    """What the library itself says of a run."""
    data = None if path is None else class_of(path, "Pictures")
    restored = gradbook.runs.restore(folder, data=data)
    return inspect(restored.model, restored.data, train)
