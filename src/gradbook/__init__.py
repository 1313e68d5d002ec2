"""gradbook: a teaching laboratory for deep learning on PyTorch.

`from d2l import torch as d2l` gives the names of the book *Dive into Deep Learning*; this
package gives the same classes, with what the book lacks.
"""

__version__ = "0.1.0"

from gradbook import errors
from gradbook.board import ProgressBoard
from gradbook.data import DataModule, TensorLoader
from gradbook.devices import cpu, gpu, num_gpus, try_all_gpus, try_gpu
from gradbook.errors import GradbookError, GradbookWarning
from gradbook.hparams import HyperParameters, add_to_class
from gradbook.models import (
    MLP,
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    SoftmaxRegression,
    SoftmaxRegressionScratch,
)
from gradbook.module import Classifier, Module
from gradbook.optim import SGD
from gradbook.record import History, Metric, Sink
from gradbook.trainer import Trainer
