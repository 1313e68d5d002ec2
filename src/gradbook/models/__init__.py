"""The finished models of the book's first chapters."""

from gradbook.models.linear_regression import LinearRegression, LinearRegressionScratch
from gradbook.models.mlp import MLP, MLPScratch
from gradbook.models.softmax_regression import SoftmaxRegression, SoftmaxRegressionScratch

__all__ = [
    "MLP",
    "LinearRegression",
    "LinearRegressionScratch",
    "MLPScratch",
    "SoftmaxRegression",
    "SoftmaxRegressionScratch",
]
