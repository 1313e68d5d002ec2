"""The names of `from d2l import torch as d2l`, frozen."""

import builtins
import json
import re
import subprocess
import sys

import pytest
import torch

import d2l as package
from d2l import torch as d2l
from gradbook.book import chapters
from gradbook.errors import MissingExtraError, NotCarriedError
from gradbook.registry import homes

FIGURES = "use_svg_display set_figsize set_axes plot show_images plt"
DESIGN = "add_to_class HyperParameters ProgressBoard Module DataModule Trainer"
REGRESSION = "SyntheticRegressionData LinearRegressionScratch SGD LinearRegression"
CLASSIFICATION = "FashionMNIST Classifier SoftmaxRegression SoftmaxRegressionScratch MLPScratch MLP"
DEVICES = "cpu gpu num_gpus try_gpu try_all_gpus"
FILES = "DATA_HUB DATA_URL download extract download_extract"
UTILITIES = (
    "load_array synthetic_data sgd linreg squared_loss get_fashion_mnist_labels "
    "load_data_fashion_mnist get_dataloader_workers accuracy evaluate_loss "
    "evaluate_accuracy_gpu train_ch6 grad_clipping Timer Accumulator Animator check_len "
    "check_shape"
)
TENSORS = (
    "ones zeros ones_like zeros_like tensor arange meshgrid sin sinh cos cosh tanh linspace exp "
    "log normal rand randn matmul int32 int64 float32 concat stack abs eye sigmoid batch_matmul "
    "numpy size reshape to reduce_sum argmax astype transpose reduce_mean expand_dims swapaxes "
    "repeat nn_Module"
)
MODULES = (
    "np torch nn F pd plt os sys math random time collections inspect hashlib re Image display"
)
NAMES = " ".join(
    (
        FIGURES,
        DESIGN,
        REGRESSION,
        CLASSIFICATION,
        DEVICES,
        FILES,
        UTILITIES,
        TENSORS,
        MODULES,
    )
).split()


def fresh(code):
    """Runs code in a new interpreter; it prints JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_name_is_there(name):
    assert getattr(d2l, name) is not None


def test_there_are_no_other_names():
    public = {name for name in dir(d2l) if not name.startswith("_")}
    assert public - {"TYPE_CHECKING"} == set(NAMES) | set(homes()) | set(chapters.HOMES)


def test_a_name_is_the_same_object_every_time():
    assert d2l.DATA_HUB is d2l.DATA_HUB
    assert d2l.FashionMNIST is d2l.FashionMNIST


@pytest.mark.parametrize("name", ["ones", "sin", "matmul", "int32", "sigmoid", "normal", "abs"])
def test_tensor_names_are_those_of_torch(name):
    assert getattr(d2l, name) is getattr(torch, name)


def test_renamed_tensor_functions():
    assert d2l.concat is torch.cat
    assert d2l.batch_matmul is torch.bmm
    assert d2l.nn_Module is torch.nn.Module


def test_names_of_earlier_editions_say_what_to_write_now():
    with pytest.raises(NotCarriedError, match=r"earlier edition .*\.fit\(model, data\)") as raised:
        d2l.train_ch3  # noqa: B018
    assert "Did you mean" not in str(raised.value)


@pytest.mark.parametrize("name", chapters.EARLIER)
def test_no_name_of_an_earlier_edition_is_carried(name):
    assert name not in NAMES


@pytest.mark.parametrize("name", chapters.HOMES)
def test_each_name_of_a_later_chapter_is_what_its_home_defines(name):
    found = getattr(d2l, name)
    assert getattr(found, "__module__", chapters.HOMES[name]) == chapters.HOMES[name]


def test_no_name_has_two_homes():
    assert not set(chapters.HOMES) & set(NAMES)


def test_misspelled_name_gets_a_hint():
    with pytest.raises(AttributeError, match="Did you mean 'plot'"):
        d2l.pllot  # noqa: B018


def test_unknown_name_is_an_ordinary_error():
    with pytest.raises(AttributeError, match="no 'qqqqqqqq'"):
        d2l.qqqqqqqq  # noqa: B018
    with pytest.raises(ImportError):
        from d2l.torch import qqqqqqqq  # noqa: F401


@pytest.mark.parametrize("name", ["train_ch3", "RNNModel", "pllot"])
def test_an_import_tells_what_an_attribute_does(name):
    with pytest.raises(AttributeError) as told:
        getattr(d2l, name)
    with pytest.raises(ImportError, match=re.escape(str(told.value))):
        exec(f"from d2l.torch import {name}")


def test_the_package_tells_where_its_names_are():
    with pytest.raises(AttributeError, match="from d2l import torch as d2l"):
        package.Trainer  # noqa: B018
    with pytest.raises(ImportError, match="from d2l import torch as d2l"):
        from d2l import Trainer  # noqa: F401
    assert not hasattr(package, "__wrapped__")


def test_no_module_of_python_is_offered_for_a_name():
    with pytest.raises(AttributeError) as told:
        d2l.net  # noqa: B018
    assert "inspect" not in str(told.value)


@pytest.mark.parametrize("framework", ["tensorflow", "mxnet", "jax", "paddle"])
def test_other_frameworks_are_refused_with_the_right_line(framework):
    with pytest.raises(ImportError, match="from d2l import torch as d2l"):
        getattr(package, framework)


def test_missing_optional_package_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name=name.partition(".")[0])

    monkeypatch.setattr(d2l, "_import_module", missing)
    monkeypatch.delitem(vars(d2l), "display", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install ipykernel matplotlib-inline"):
        d2l.display  # noqa: B018


def test_star_import_hides_no_builtin():
    names = {}
    exec("from d2l.torch import *", names)
    taken = set(names) - {"__builtins__"}
    assert set(NAMES) - taken == {"abs", "display", "numpy"}
    assert not taken & set(vars(builtins))


@pytest.mark.slow
def test_import_loads_no_heavy_package():
    heavy = ["IPython", "PIL", "jsonargparse", "matplotlib", "pandas", "requests", "rich"]
    loaded = fresh(
        "import sys, json, torch; before = set(sys.modules); import d2l.torch; "
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    assert not set(heavy) & set(loaded)
    assert set(loaded) <= {"d2l", "gradbook", "gradbook_standin"}


@pytest.mark.slow
def test_import_alone_of_d2l_loads_no_torch():
    assert fresh("import sys, json, d2l; print(json.dumps('torch' in sys.modules))") is False
