"""What MODEL and --data name."""

import sys

import pytest

from gradbook import datasets, models
from gradbook.cli import classes
from gradbook.cli.classes import DATA_SET, MODEL, find
from gradbook.errors import ConfigError
from gradbook.registry import DATA, MODELS

NET = """
import gradbook

class MyNet(gradbook.Classifier):
    pass
"""


@pytest.mark.parametrize("name", MODELS)
def test_every_finished_model_is_found(name):
    assert MODEL.fits(find(name, MODEL).Class)


def test_every_exported_model_has_a_name():
    found = {find(name, MODEL).Class.__name__ for name in MODELS}
    assert found == set(models.__all__)


@pytest.mark.parametrize("name", DATA)
def test_every_finished_data_set_is_found(name):
    assert DATA_SET.fits(find(name, DATA_SET).Class)


@pytest.mark.parametrize("name", ["softmax", "SoftmaxRegression", "softmax_regression"])
def test_a_model_has_several_spellings(name):
    assert find(name, MODEL) == classes.Found("softmax-regression", models.SoftmaxRegression)


def test_a_data_set_may_be_named_by_its_class():
    assert find("FashionMNIST", DATA_SET).Class is datasets.FashionMNIST


def test_a_class_of_a_file_is_found(write):
    found = find(write(NET) + ":MyNet", MODEL)
    assert (found.name, found.Class.__name__, found.slug) == ("my_file.py:MyNet", "MyNet", "my-net")


def test_the_only_model_of_a_file_needs_no_name(write):
    assert find(write(NET), MODEL).name == "my_file.py:MyNet"


def test_a_colon_without_a_class_is_as_none(write):
    assert find(write(NET) + ":", MODEL).name == "my_file.py:MyNet"


def test_a_file_is_loaded_once(write):
    write(NET)
    assert find("my_file.py", MODEL).Class is find("./my_file.py:MyNet", MODEL).Class


def test_what_lies_beside_a_file_can_be_imported(write):
    write("SIZE = 3", "folder/beside_it.py")
    write("import beside_it\n" + NET, "folder/my_file.py")
    assert find("folder/my_file.py", MODEL).name == "folder/my_file.py:MyNet"


def test_a_file_may_have_the_name_of_a_library(write):
    write(NET, "torch.py")
    assert find("torch.py", MODEL).Class.__name__ == "MyNet"


def test_a_library_stays_when_a_file_has_its_name(write):
    torch = sys.modules["torch"]
    find(write(NET, "torch.py"), MODEL)
    assert sys.modules["torch"] is torch


def test_a_class_of_a_module_is_found(write):
    write("", "a_package/__init__.py")
    write(NET, "a_package/nets.py")
    assert find("a_package.nets:MyNet", MODEL).Class.__name__ == "MyNet"


def test_the_only_model_of_a_module_needs_no_name(write):
    write("", "b_package/__init__.py")
    write(NET, "b_package/nets.py")
    assert find("b_package.nets", MODEL).name == "b_package.nets:MyNet"


def test_a_class_imported_into_a_file_can_be_named(write):
    found = find(write("from gradbook import MLP") + ":MLP", MODEL)
    assert found.Class is models.MLP


def test_a_model_need_not_be_derived_from_ours(write):
    write("class Own:\n    def training_step(self): ...\n    def configure_optimizers(self): ...\n")
    assert find("my_file.py", MODEL).Class.__name__ == "Own"


def message(text: str, kind: classes.Kind = MODEL) -> str:
    with pytest.raises(ConfigError) as caught:
        find(text, kind)
    return str(caught.value)


def test_an_unknown_model_gets_a_suggestion():
    assert "There is no model 'mpl'. Did you mean 'mlp'?" in message("mpl")


def test_an_unknown_alias_gets_a_suggestion():
    assert "Did you mean 'softmax-scratch'?" in message("sofmax-scratch")


def test_an_unknown_data_set_gets_a_suggestion():
    text = message("fashon-mnist", DATA_SET)
    assert "There is no data set 'fashon-mnist'. Did you mean 'fashion-mnist'?" in text


def test_a_model_s_name_is_no_suggestion_for_data():
    assert "softmax" not in message("softmx", DATA_SET)


def test_a_file_without_its_ending_gets_a_suggestion(write):
    write(NET)
    assert "Did you mean 'my_file.py'?" in message("my_file")


def test_a_file_that_does_not_exist_gets_a_suggestion(write):
    write(NET, "my_net.py")
    assert "There is no file 'my_nets.py'. Did you mean 'my_net.py'?" in message("my_nets.py:MyNet")


def test_a_folder_that_does_not_exist_is_told():
    assert "There is no file 'nowhere/net.py'." in message("nowhere/net.py")


def test_a_notebook_is_not_loaded(write):
    write("{}", "net.ipynb")
    assert "not a Python file (.py). Copy the class from the notebook" in message("net.ipynb:MyNet")


def test_another_kind_of_file_is_not_loaded():
    assert "not a Python file" in message("some/where.txt")


def test_a_class_that_is_not_there_gets_a_suggestion(write):
    text = message(write(NET) + ":MyNett")
    assert text == "my_file.py has no class 'MyNett'. Did you mean 'MyNet'? Its models: MyNet."


def test_a_plain_layer_is_no_model(write):
    write("from torch import nn\nclass Layer(nn.Module):\n    pass\n")
    assert message("my_file.py:Layer") == (
        "Layer in my_file.py is not a model: it has no `training_step`. It is a plain "
        "torch.nn.Module. Derive it from gradbook.Module or gradbook.Classifier."
    )


def test_any_other_class_is_no_model(write):
    write("class Thing:\n    pass\n")
    assert "Thing in my_file.py is not a model: it has no `training_step`. Derive" in message(
        "my_file.py:Thing"
    )


def test_a_model_is_no_data_set(write):
    text = message(write(NET) + ":MyNet", DATA_SET)
    assert "not a data set: it has no `train_dataloader`. Derive it from gradbook.Data" in text


def test_an_instance_is_no_class(write):
    write("net = 3")
    assert message("my_file.py:net") == "net in my_file.py is not a class, but int 3."


def test_a_file_without_a_model_says_what_it_has(write):
    write("class Thing:\n    pass\n")
    assert "my_file.py defines no model" in message("my_file.py")
    assert "(its classes: Thing)" in message("my_file.py")


def test_an_empty_file_has_no_model(write):
    assert message(write("")).endswith("derived from gradbook.Module.")


def test_of_several_models_one_must_be_named(write):
    write(NET + "class Other(MyNet):\n    pass\n")
    text = message("my_file.py")
    assert "defines 2 models: MyNet, Other. Say which, for example my_file.py:Other." in text


def test_a_module_that_does_not_exist_is_told():
    assert "There is no module 'no_such' here" in message("no_such.package:MyNet")


def test_what_a_module_lacks_is_not_mistaken_for_itself(write):
    write("import no_such_library", "needs_more.py")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        find("needs_more:MyNet", MODEL)


def test_a_file_that_fails_is_not_half_loaded(write):
    write("1 / 0", "fails_early.py")
    with pytest.raises(ZeroDivisionError):
        find("fails_early.py", MODEL)
    assert "fails_early" not in sys.modules


@pytest.mark.parametrize("text", [".:X", "..:X", ".foo:X", ":"])
def test_what_is_no_module_is_explained(text):
    with pytest.raises(ConfigError, match="There is no model"):
        classes.find(text, classes.MODEL)
