"""Data from a file of one's own, and a model of one's own, which says how warm it is at noon.

`use.py` trains with these classes in Python. In a shell, in this folder:

    gradbook train weather.py:Noon --data weather.py:Weather --num-hiddens 8 --seed 1
    gradbook inspect noon-1 --model weather.py:Noon --data weather.py:Weather
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

import gradbook
from gradbook.datasets import TabularEncoder

#: Made up with a formula and chance: the day of the year, wind in m/s, with some gaps, eighths of
#: the sky under cloud, and the temperature at noon in degrees Celsius.
FILE = Path(__file__).with_name("weather.csv")


class Weather(gradbook.DataModule):
    """The days of the file: X of shape (n, 4), y of shape (n, 1)."""

    def __init__(self, num_train: int = 180, batch_size: int = 20) -> None:
        super().__init__()
        self.save_hyperparameters()  # each argument becomes an attribute and an option
        table = pd.read_csv(FILE)
        year = 2 * math.pi * table.pop("day") / 365  # the last day of a year is beside the first
        table["sin"], table["cos"] = year.map(math.sin), year.map(math.cos)
        encoder = TabularEncoder(target="temperature", standardize=True)
        encoder.fit(table[:num_train])  # what is filled into gaps is learned from training rows
        self.X, self.y = encoder.transform(table), table[["temperature"]]

    def get_dataloader(self, train: bool) -> Any:
        """The first days are for training, the others for validation."""
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Noon(gradbook.Module):
    """A network with one hidden layer; with none (`num_hiddens=0`) it is linear regression."""

    def __init__(self, num_hiddens: int = 16, lr: float = 0.02) -> None:
        super().__init__()
        self.save_hyperparameters()
        hidden = [nn.LazyLinear(num_hiddens), nn.Tanh()] if num_hiddens else []
        self.net = nn.Sequential(*hidden, nn.LazyLinear(1))

    def loss(self, y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The mean of the squared errors."""
        return ((y_hat - y) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as an example of an optimizer of one's own choice."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)
