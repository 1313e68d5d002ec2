"""Small networks, data for them, and what is known of both."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from gradbook.module import Classifier


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, X):
        Y = torch.relu(self.inner(X))
        Y += X
        return Y


def covariance(X):
    """E[x x^T], with a one for the bias at the end of each x."""
    X = np.c_[X.double().numpy(), np.ones(len(X))]
    return X.T @ X / len(X)


def classes(num_examples=60, num_inputs=3):
    X = torch.randn(num_examples, num_inputs)
    return X, torch.randint(0, 3, (num_examples,))


class SmoothMLP(Classifier):
    def __init__(self, lr=0.1, num_inputs=3):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(num_inputs, 4), nn.Tanh(), nn.Linear(4, 3))


def full_hessian(model, X, y):
    """The Hessian in float64, from central differences of the gradient."""
    model = copy.deepcopy(model).double()
    X = X.double()
    parameters = list(model.parameters())
    begin = parameters_to_vector(parameters).detach()

    def gradient(weights):
        vector_to_parameters(weights, parameters)
        loss = model.loss(model(X), y)
        return parameters_to_vector(torch.autograd.grad(loss, parameters)).numpy()

    step = 1e-5
    rows = []
    for i in range(len(begin)):
        move = torch.zeros_like(begin)
        move[i] = step
        rows.append((gradient(begin + move) - gradient(begin - move)) / (2 * step))
    H = np.array(rows)
    return (H + H.T) / 2


def state_of(model):
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    return tensors, modes, [p.grad for p in model.parameters()]
