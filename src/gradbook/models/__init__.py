"""The finished models of the book: those of `gradbook.registry`, and the parts of larger ones."""

from typing import TYPE_CHECKING

from gradbook import registry
from gradbook.lazy import lazy_names, listing

if TYPE_CHECKING:  # what type checkers and editors see
    from gradbook.models.convolutional import LeNet as LeNet
    from gradbook.models.linear_regression import LinearRegression as LinearRegression
    from gradbook.models.linear_regression import LinearRegressionScratch as LinearRegressionScratch
    from gradbook.models.mlp import MLP as MLP
    from gradbook.models.mlp import MLPScratch as MLPScratch
    from gradbook.models.recurrent import RecurrentLM as RecurrentLM
    from gradbook.models.softmax_regression import SoftmaxRegression as SoftmaxRegression
    from gradbook.models.softmax_regression import (
        SoftmaxRegressionScratch as SoftmaxRegressionScratch,
    )
else:
    __getattr__ = lazy_names(__name__, registry.homes(registry.MODELS))
    __all__ = sorted(registry.homes(registry.MODELS))
    __dir__ = listing(__all__)
