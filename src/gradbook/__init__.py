"""gradbook: a teaching laboratory for deep learning on PyTorch.

`from d2l import torch as d2l` gives the names of the book *Dive into Deep Learning*; this
package gives the same classes, with what the book lacks.
"""

from typing import TYPE_CHECKING

import gradbook_standin
from gradbook.lazy import lazy_names, listing
from gradbook.registry import homes

__version__ = "0.1.0"

gradbook_standin.install()

if TYPE_CHECKING:
    from gradbook import checkpoint as checkpoint
    from gradbook import errors as errors
    from gradbook import inspection as inspection
    from gradbook import runs as runs
    from gradbook import sweeps as sweeps
    from gradbook import trackers as trackers
    from gradbook import verdicts as verdicts
    from gradbook import watching as watching
    from gradbook.board import ProgressBoard as ProgressBoard
    from gradbook.data import DataModule as DataModule
    from gradbook.data import TensorLoader as TensorLoader
    from gradbook.datasets import Blobs as Blobs
    from gradbook.datasets import Circles as Circles
    from gradbook.datasets import FashionMNIST as FashionMNIST
    from gradbook.datasets import Moons as Moons
    from gradbook.datasets import MTFraEng as MTFraEng
    from gradbook.datasets import Sine as Sine
    from gradbook.datasets import Spirals as Spirals
    from gradbook.datasets import SyntheticRegressionData as SyntheticRegressionData
    from gradbook.datasets import TimeMachine as TimeMachine
    from gradbook.datasets import Xor as Xor
    from gradbook.devices import cpu as cpu
    from gradbook.devices import gpu as gpu
    from gradbook.devices import num_gpus as num_gpus
    from gradbook.devices import try_all_gpus as try_all_gpus
    from gradbook.devices import try_gpu as try_gpu
    from gradbook.errors import GradbookError as GradbookError
    from gradbook.errors import GradbookWarning as GradbookWarning
    from gradbook.experiments.activations import activation as activation
    from gradbook.experiments.edge_of_stability import edge_of_stability as edge_of_stability
    from gradbook.experiments.graphs import graph as graph
    from gradbook.experiments.hessian import sharpness as sharpness
    from gradbook.experiments.model_comparison import compare_models as compare_models
    from gradbook.experiments.model_summary import summary as summary
    from gradbook.experiments.rate_range import lr_range as lr_range
    from gradbook.experiments.saved_memory import memory as memory
    from gradbook.experiments.speed import vectorization as vectorization
    from gradbook.history import History as History
    from gradbook.hparams import HyperParameters as HyperParameters
    from gradbook.hparams import add_to_class as add_to_class
    from gradbook.model_files import load_model as load_model
    from gradbook.model_files import save_model as save_model
    from gradbook.models import *  # noqa: F403
    from gradbook.module import Classifier as Classifier
    from gradbook.module import Module as Module
    from gradbook.optim import SGD as SGD
    from gradbook.record import Metric as Metric
    from gradbook.record import Sink as Sink
    from gradbook.reports import report as report
    from gradbook.seeds import seed_everything as seed_everything
    from gradbook.sweeps import sweep as sweep
    from gradbook.trainer import Trainer as Trainer
    from gradbook.verdicts import compare_settings as compare_settings
    from gradbook.verdicts import verdict as verdict

#: Where each public name lives, but for the models and the data sets of `registry`.
_HOMES = {
    "board": ("ProgressBoard",),
    "data": ("DataModule", "TensorLoader"),
    "devices": ("cpu", "gpu", "num_gpus", "try_all_gpus", "try_gpu"),
    "errors": ("GradbookError", "GradbookWarning"),
    "experiments.activations": ("activation",),
    "experiments.edge_of_stability": ("edge_of_stability",),
    "experiments.graphs": ("graph",),
    "experiments.hessian": ("sharpness",),
    "experiments.model_comparison": ("compare_models",),
    "experiments.model_summary": ("summary",),
    "experiments.rate_range": ("lr_range",),
    "experiments.saved_memory": ("memory",),
    "experiments.speed": ("vectorization",),
    "hparams": ("HyperParameters", "add_to_class"),
    "model_files": ("load_model", "save_model"),
    "module": ("Classifier", "Module"),
    "optim": ("SGD",),
    "history": ("History",),
    "record": ("Metric", "Sink"),
    "reports": ("report",),
    "seeds": ("seed_everything",),
    "sweeps": ("sweep",),
    "trainer": ("Trainer",),
    "verdicts": ("compare_settings", "verdict"),
}

#: Modules whose names are used with theirs before, as `gradbook.runs.load`.
_MODULES = (
    *("checkpoint", "errors", "inspection", "runs", "sweeps", "trackers", "verdicts", "watching"),
)

_HOME_OF = {
    **{name: f"gradbook.{home}" for home, names in _HOMES.items() for name in names},
    **homes(),
    **dict.fromkeys(_MODULES),
}

__all__ = ["__version__", *_HOME_OF]

__getattr__ = lazy_names(__name__, _HOME_OF)

__dir__ = listing(__all__)
