"""Chapter 2: the cells that use the library."""

import random

import numpy as np
import pytest
import torch
from torch.distributions.multinomial import Multinomial

from d2l import torch as d2l


def f(x):
    return 3 * x**2 - 4 * x


def test_2_4_1_limit():
    h = 10.0 ** np.arange(-1, -6, -1)
    slopes = (f(1 + h) - f(1)) / h
    assert slopes[-1] == pytest.approx(2, abs=1e-4)


def test_2_4_2_function_and_tangent():
    x = np.arange(0, 3, 0.1)
    d2l.plot(x, [f(x), 2 * x - 3], "x", "f(x)", legend=["f(x)", "Tangent line (x=1)"])
    axes = d2l.plt.gca()
    assert len(axes.lines) == 2
    assert axes.get_legend().get_texts()[0].get_text() == "f(x)"
    assert axes.get_xlabel() == "x"


def test_2_5_gradient_drawn_beside_the_function():
    x = torch.linspace(-3, 3, 50, requires_grad=True)
    y = torch.sin(x)
    y.sum().backward()
    d2l.plot(x.detach(), [y.detach(), x.grad], "x", legend=["sin", "cos"])
    np.testing.assert_allclose(
        d2l.plt.gca().lines[1].get_ydata(), np.cos(x.detach().numpy()), atol=1e-6
    )


def test_2_6_frequencies_of_coin_tosses():
    heads = sum(random.random() > 0.5 for _ in range(100))
    assert 20 < heads < 80
    counts = Multinomial(1, torch.tensor([0.5, 0.5])).sample((2000,))
    estimates = counts.cumsum(dim=0)
    estimates = (estimates / estimates.sum(dim=1, keepdims=True)).numpy()
    d2l.set_figsize((4.5, 3.5))
    d2l.plt.plot(estimates[:, 0], label="P(coin=heads)")
    d2l.plt.plot(estimates[:, 1], label="P(coin=tails)")
    d2l.plt.axhline(y=0.5, color="black", linestyle="dashed")
    d2l.plt.gca().set_xlabel("Samples")
    d2l.plt.legend()
    assert d2l.plt.gcf().get_size_inches().tolist() == [4.5, 3.5]
    assert estimates[-1] == pytest.approx([0.5, 0.5], abs=0.05)


def test_2_2_table_to_tensors():
    d2l.os.makedirs(d2l.os.path.join("..", "data"), exist_ok=True)
    path = d2l.os.path.join("..", "data", "house_tiny.csv")
    with open(path, "w") as file:
        file.write("NumRooms,RoofType,Price\nNA,NA,127500\n2,NA,106000\n4,Slate,178100\n")
    data = d2l.pd.read_csv(path)
    inputs = d2l.pd.get_dummies(data.iloc[:, 0:2], dummy_na=True)
    inputs = inputs.fillna(inputs.mean())
    X = d2l.tensor(inputs.to_numpy(dtype=float))
    assert X.tolist() == [[3, 0, 1], [2, 0, 1], [4, 1, 0]]
