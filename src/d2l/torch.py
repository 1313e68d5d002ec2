# ruff: noqa: F401, F403
"""The names of the book: `from d2l import torch as d2l`.

Names only. Those that would load a large package are looked up when they are first used.
"""

import collections
import hashlib
import inspect
import math
import os
import random
import re
import sys
import time
from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import (
    abs,
    arange,
    cos,
    cosh,
    exp,
    eye,
    float32,
    int32,
    int64,
    linspace,
    log,
    matmul,
    nn,
    normal,
    ones,
    ones_like,
    rand,
    randn,
    sigmoid,
    sin,
    sinh,
    stack,
    tanh,
    tensor,
    zeros,
    zeros_like,
)
from torch import bmm as batch_matmul
from torch import cat as concat
from torch.nn import Module as nn_Module
from torch.nn import functional as F  # noqa: N812

from d2l import _error_of
from gradbook.board import ProgressBoard
from gradbook.book.chapters import HOMES as _LATER
from gradbook.book.chapters import not_carried as _not_carried
from gradbook.book.tensors import (
    argmax,
    astype,
    expand_dims,
    meshgrid,
    numpy,
    reduce_mean,
    reduce_sum,
    repeat,
    reshape,
    size,
    swapaxes,
    to,
    transpose,
)
from gradbook.data import DataModule
from gradbook.devices import cpu, gpu, num_gpus, try_all_gpus, try_gpu
from gradbook.errors import MissingExtraError as _MissingExtraError
from gradbook.errors import did_you_mean as _did_you_mean
from gradbook.hparams import HyperParameters, add_to_class
from gradbook.module import Classifier, Module
from gradbook.optim import SGD
from gradbook.registry import homes as _homes
from gradbook.timing import Timer
from gradbook.trainer import Trainer

if TYPE_CHECKING:  # what a type checker and an editor see of the names below
    import matplotlib.pyplot as plt
    import pandas as pd
    from IPython import display
    from PIL import Image

    from gradbook.book.adversarial import *
    from gradbook.book.boxes import *
    from gradbook.book.classic import *
    from gradbook.book.figures import *
    from gradbook.book.gaussian_processes import *
    from gradbook.book.hyperparameter_search import *
    from gradbook.book.image_training import train_batch_ch13, train_ch13
    from gradbook.book.kaggle import copyfile, read_csv_labels, reorg_test, reorg_train_valid
    from gradbook.book.language import predict_sentiment, predict_snli
    from gradbook.book.optimization import *
    from gradbook.book.performance import *
    from gradbook.book.reinforcement import *
    from gradbook.book.seq2seq_training import (
        MaskedSoftmaxCELoss,
        predict_seq2seq,
        sequence_mask,
        train_seq2seq,
    )
    from gradbook.datasets import (
        DATA_HUB,
        DATA_URL,
        FashionMNIST,
        SyntheticRegressionData,
        TimeMachine,
        download,
        download_extract,
        extract,
        synthetic_data,
    )
    from gradbook.datasets.bananas import BananasDataset, load_data_bananas, read_data_bananas
    from gradbook.datasets.embeddings import TokenEmbedding
    from gradbook.datasets.imdb import load_data_imdb, read_imdb
    from gradbook.datasets.ptb import (
        RandomGenerator,
        batchify,
        get_centers_and_contexts,
        get_negatives,
        load_data_ptb,
        read_ptb,
        subsample,
    )
    from gradbook.datasets.snli import SNLIDataset, load_data_snli, read_snli
    from gradbook.datasets.text import Vocab, tokenize
    from gradbook.datasets.translation import (
        build_array_nmt,
        load_data_nmt,
        preprocess_nmt,
        read_data_nmt,
        tokenize_nmt,
        truncate_pad,
    )
    from gradbook.datasets.voc import (
        VOC_CLASSES,
        VOC_COLORMAP,
        VOCSegDataset,
        load_data_voc,
        read_voc_images,
        voc_colormap2label,
        voc_label_indices,
        voc_rand_crop,
    )
    from gradbook.datasets.wikitext import load_data_wiki
    from gradbook.display.animator import Animator
    from gradbook.models import *
    from gradbook.models.attention import (
        AdditiveAttention,
        DotProductAttention,
        MultiHeadAttention,
        PositionalEncoding,
        masked_softmax,
    )
    from gradbook.models.bert import (
        BERTEncoder,
        BERTModel,
        MaskLM,
        NextSentencePred,
        get_tokens_and_segments,
    )
    from gradbook.models.convolutional import Residual, ResNeXtBlock, corr2d, init_cnn, resnet18
    from gradbook.models.recurrent import GRU, RNN, RNNLM, RNNLMScratch, RNNScratch
    from gradbook.models.seq2seq import (
        AttentionDecoder,
        Decoder,
        Encoder,
        EncoderDecoder,
        Seq2Seq,
        Seq2SeqEncoder,
        bleu,
        init_seq2seq,
    )
    from gradbook.models.transformer import (
        AddNorm,
        PositionWiseFFN,
        TransformerEncoder,
        TransformerEncoderBlock,
    )

#: Where the names live that are looked up when they are first used: a module, or names in it. The
#: finished models and data sets are those of `registry`, the later chapters' names those of
#: `gradbook.book.chapters`.
_MODULES = {
    "Image": "PIL.Image",
    "display": "IPython.display",
    "pd": "pandas",
    "plt": "gradbook.book.pyplot",
}
_HOMES = {
    "gradbook.book.classic": (
        "Accumulator accuracy check_len check_shape evaluate_accuracy_gpu evaluate_loss "
        "get_dataloader_workers get_fashion_mnist_labels grad_clipping linreg load_array "
        "load_data_fashion_mnist sgd squared_loss train_ch6"
    ),
    "gradbook.datasets": "DATA_HUB DATA_URL download download_extract extract synthetic_data",
    "gradbook.display.animator": "Animator",
    "gradbook.book.figures": "plot set_axes set_figsize show_images use_svg_display",
}
_HOME_OF = {
    **{name: home for home, names in _HOMES.items() for name in names.split()},
    **_LATER,
    **_homes(),
}
_EXTRAS = {"IPython": "notebook"}
_NAMES = sorted(
    {name for name in globals() if not name.startswith("_") and name != "TYPE_CHECKING"}
    | {*_MODULES, *_HOME_OF}
)
# `from d2l.torch import *` leaves out what would hide a builtin, the `display` of notebooks and
# the package numpy, and what is not installed.
__all__ = [
    name
    for name in _NAMES
    if name not in ("abs", "display", "numpy")
    and (name not in _MODULES or _find_spec(_MODULES[name].partition(".")[0]) is not None)
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        package = _MODULES[name].partition(".")[0]
        try:
            value: object = _import_module(_MODULES[name])
        except ModuleNotFoundError as error:
            if error.name != package or package not in _EXTRAS:
                raise
            raise _MissingExtraError.of(package, f"d2l.{name}", _EXTRAS[package]) from None
    elif name in _HOME_OF:
        value = getattr(_import_module(_HOME_OF[name]), name)
    elif name.startswith("__"):  # Python itself asks for these
        raise AttributeError(f"module 'd2l.torch' has no attribute {name!r}", name=name)
    else:
        known = [n for n in _NAMES if not isinstance(globals().get(n), _ModuleType)]
        missing = _not_carried(name) or AttributeError(
            f"d2l has no {name!r}.{_did_you_mean(name, known)}", name=name
        )
        raise _error_of(sys._getframe(1), missing)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*_NAMES, *(name for name in globals() if name.startswith("__"))]
