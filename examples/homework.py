# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A learner's experiments, asked again
#
# In a homework on sections 2.1 to 5.3 of *Dive into Deep Learning* a learner tried things: changed
# a rate, added a layer, looked at the curve, and concluded something. Here each is tried again with
# several seeds and with measurements, so that the conclusion can be checked. Change the numbers and
# run the cells again: that is what they are for. Each question says where to look before you read
# the answer's numbers.

# %%
import builtins
import os
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

import gradbook

# For a quick look, only so many batches of an epoch: LIMIT_BATCHES=10 python homework.py
LIMIT = int(os.environ.get("LIMIT_BATCHES", "100"))
PICTURES = Path("homework-pictures")


def show(result: Any, name: str, figure: Any = None) -> None:
    """A notebook shows a result with its figure; a script prints it, and saves the figure.

    `figure` is the one to save of a result that has none of its own, or several.
    """
    in_notebook = getattr(builtins, "display", None)
    if in_notebook:
        in_notebook(result)
        return
    print(result, end="\n\n")
    PICTURES.mkdir(exist_ok=True)
    save = result.save if figure is None else figure.savefig
    save(PICTURES / f"{name}.png")


gradbook.seed_everything(0)
points = gradbook.SyntheticRegressionData()
clothes = gradbook.FashionMNIST(batch_size=256)

# %% [markdown]
# ## 2.1 When does `reshape` copy?
#
# The homework noted: when the tensor is not contiguous. Look at which of the three still has the
# memory of `A`.

# %%
A = torch.arange(6.0).reshape(2, 3)
views = {"A.reshape(6)": A.reshape(6), "A.t()": A.t(), "A.t().reshape(6)": A.t().reshape(6)}
for code, B in views.items():
    print(f"{code:17} has the memory of A: {B.data_ptr() == A.data_ptr()}")

# %% [markdown]
# ## 3.1 What does a loop cost?
#
# The homework added 10,000 numbers in a loop and in one call. Look at the left end of the curves:
# with ten numbers the two are much closer. Why?

# %%
show(gradbook.vectorization([10, 100, 1000, 10_000]), "vectorization")

# %% [markdown]
# ## 3.4 Up to which learning rate does regression work?
#
# Three curves, at 0.03, 1 and 2, seemed to say: up to 2. Look at the rates at which the seeds
# disagree. The edge is there.

# %%
rates = gradbook.sweep(
    gradbook.LinearRegressionScratch,
    gradbook.SyntheticRegressionData,
    num_inputs=2,
    lr=[0.03, 0.3, 1.0, 1.9, 2.0],
    seed=range(3),
    max_epochs=3,
    display="off",
)
show(rates, "regression-rates")

# %% [markdown]
# Can the edge be known without training? Look at the critical rate, and at how far the seeds above
# were from it.

# %%
show(gradbook.sharpness(gradbook.LinearRegressionScratch(2, lr=0.03), points), "sharpness")

# %% [markdown]
# What happens beyond it? Look at the step at which it broke, at the line, and at what was tried.

# %%
trainer = gradbook.Trainer(max_epochs=4, display="off")
trainer.fit(gradbook.LinearRegressionScratch(2, lr=3.0), points)
print(trainer.postmortem)

# %% [markdown]
# ## 3.4 Why not so for images?
#
# The homework guessed that regression allows large rates because it is a simple model. Softmax
# regression is as simple. Look at its critical rate for pixels from 0 to 1, and for the same pixels
# after the mean image was taken away: the model is the same, only the inputs differ.

# %%
batches = islice(clothes.train_dataloader(), 8)
X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
for inputs, told in ((X, "pixels from 0 to 1"), (X - X.mean(dim=0), "without their mean")):
    softmax = gradbook.SoftmaxRegressionScratch(784, 10, lr=0.1)
    found = gradbook.sharpness(softmax, (inputs, y))
    print(f"{told:18}  stable below lr {found.critical_lr:.2g}")

# %% [markdown]
# ## 4.1 Why the exponential in softmax?
#
# The homework's answer: a plain share of the sum can be negative, and the sum can be zero. Look at
# the shares of these outputs, then at the gradient, which is the prediction less the label.

# %%
outputs = torch.tensor([2.0, 0.5, -2.0], requires_grad=True)
print("share of the sum   ", (outputs / outputs.sum()).detach())
print("softmax            ", outputs.softmax(dim=0).detach())
functional.cross_entropy(outputs, torch.tensor(0)).backward()
print("gradient, label 0  ", outputs.grad)

# %% [markdown]
# ## 4.4 Is 0.3 worse than 0.1?
#
# At 0.3 the homework's loss fell fast and then swung. Look at both columns of accuracy, at the end
# and at best: does it suffer as well, and by more than the seeds differ?

# %%
rates = gradbook.sweep(
    gradbook.SoftmaxRegressionScratch,
    gradbook.FashionMNIST,
    num_inputs=784,
    num_outputs=10,
    batch_size=256,
    lr=[0.1, 0.3, 1.0],
    seed=range(3),
    max_epochs=10,
    limit_batches=LIMIT,
    display="off",
)
show(rates, "softmax-rates")
print(rates.compare(0, 1, "val_acc"))

# %% [markdown]
# What does it confuse? Look at the kinds of tops in the matrix: which are confused both ways?

# %%
softmax = gradbook.SoftmaxRegressionScratch(784, 10, lr=0.1)
trainer = gradbook.Trainer(max_epochs=5, limit_batches=LIMIT, display="off")
trainer.fit(softmax, clothes)
report = gradbook.inspection.inspect(softmax, clothes)
show(report, "confusion", report.figures()["confusion"])

# %% [markdown]
# ## 5.1 What do two sigmoids leave of a gradient?
#
# The homework saw that the slope becomes small. Look at the largest slope after two, three and ten.

# %%
show(gradbook.activation("sigmoid", compose=2), "sigmoids")

# %% [markdown]
# What is good about sigmoid and tanh, then, the homework asked. Look at who learns faster in the
# first epochs, with the same rate and the same seeds.

# %%
activations = gradbook.sweep(
    gradbook.MLP,
    gradbook.FashionMNIST,
    batch_size=256,
    activation=["sigmoid", "tanh", "relu"],
    num_hiddens=64,
    lr=0.1,
    seed=range(2),
    max_epochs=3,
    limit_batches=LIMIT,
    display="off",
)
show(activations, "activations")

# %% [markdown]
# ## 5.2 Another hidden layer: was that bump overfitting?
#
# The deeper network's validation loss jumped in one epoch, and came down again. Look at whether the
# bumps come in the same epoch with the other seed, and whether the shallow network has none.

# %%
depths = gradbook.sweep(
    gradbook.MLP,
    gradbook.FashionMNIST,
    batch_size=256,
    num_hiddens=[128, [128, 128]],
    lr=0.1,
    seed=range(2),
    max_epochs=6,
    limit_batches=LIMIT,
    display="off",
)
show(depths, "depths")

# %% [markdown]
# Overfitting looks different. Here 200 images are learned by heart. Look at the two losses from the
# middle on, and at the verdict.

# %%
centered = X - X.mean(dim=0)
few = (centered[:200], y[:200]), (centered[200:], y[200:])
trainer = gradbook.Trainer(max_epochs=100, display="off")
trainer.fit(gradbook.MLP(num_hiddens=64, lr=0.1), few)
history = trainer.history
show(gradbook.verdict(trainer), "overfitting", history.plot("train_loss", "val_loss").figure)

# %% [markdown]
# ## 5.3 Why does training need more memory than prediction?
#
# Look at which operation's result is kept for the backward pass, and at what grows with the batch.

# %%
show(gradbook.memory(gradbook.MLP(num_hiddens=[64] * 4), (X[:256], y[:256])), "memory")

# %% [markdown]
# And does clipping the gradients solve it when they explode, as the homework supposed? This is the
# regression at 3.0 again, without clipping (0) and with two limits. Look at the losses that remain.

# %%
clipped = gradbook.sweep(
    gradbook.LinearRegressionScratch,
    gradbook.SyntheticRegressionData,
    num_inputs=2,
    lr=3.0,
    gradient_clip_val=[0, 0.1, 1.0],
    seed=range(2),
    max_epochs=3,
    display="off",
)
show(clipped, "clipping")
