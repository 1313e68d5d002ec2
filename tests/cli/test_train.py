"""`gradbook train`: from arguments to a plan."""

import re
import shlex
from typing import Any

import pytest

from gradbook.cli import main, subject
from gradbook.cli.options import normalized
from gradbook.cli.outcome import HelpRequest, UsageError
from gradbook.cli.plan import Plan, read_plan
from gradbook.errors import ConfigError, GradbookWarning
from gradbook.registry import DATA, MODELS

pytestmark = pytest.mark.usefixtures("blank_figures")

UNDECLARED = """
import gradbook

class MyNet(gradbook.Module):
    '''In the book's style.

    Args:
        num_hiddens: The width.
    '''

    def __init__(self, num_outputs, num_hiddens, lr=0.1, name="x", batch_size=3, dropout=None):
        super().__init__()
        self.save_hyperparameters()

class MyData(gradbook.DataModule):
    def __init__(self, num_examples=10, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
"""


def plan(*arguments: str) -> Plan:
    return read_plan(normalized(arguments))


def usage_error(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        plan(*arguments)
    return str(caught.value)


def test_without_a_model_help_lists_them_all(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in [*MODELS, *DATA])


@pytest.mark.parametrize("arguments", [[], ["--lr", "0.1", "mlp"]])
def test_the_model_comes_first(capsys, arguments):
    assert main(["train", *arguments]) == 2
    assert "error: Name the model first.\nusage: gradbook train MODEL" in capsys.readouterr().err


def test_the_help_of_a_model_shows_every_option_in_its_group(capsys):
    assert main(["train", "mlp", "--help"]) == 0
    text = capsys.readouterr().out
    titles = ["Model: mlp:", "Data: fashion-mnist:", "Trainer:", "Run:"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    for flag in ("--num-hiddens", "--lr", "--resize", "--max-epochs", "--compile", "--seed"):
        assert f"  {flag}" in text


def test_the_help_shows_the_defaults_of_the_command(capsys):
    main(["train", "mlp", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Images in a batch. (default: 256)" in text
    assert "at least 1. (default: 10)" in text


def test_the_help_of_a_learner_s_class_comes_from_their_docstring(capsys, write):
    main(["train", write(UNDECLARED), "--help"])
    text = capsys.readouterr().out
    assert "Model: my_file.py:MyNet:" in text
    assert "--num-hiddens VALUE   The width. (required)" in text


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("mlp", "fashion-mnist"),
        ("softmax", "fashion-mnist"),
        ("linear-regression", "synthetic-regression"),
        ("linear-regression-scratch", "synthetic-regression"),
    ],
)
def test_the_model_chooses_its_data(model, data):
    assert plan(model).data.name == data


def test_the_data_can_be_chosen():
    assert plan("mlp", "--data", "synthetic-regression").data.name == "synthetic-regression"


def test_the_data_can_be_a_learner_s_own(write):
    write(UNDECLARED)
    assert plan("linear-regression", "--data", "my_file.py").data.Class.__name__ == "MyData"


def test_unknown_data_get_a_suggestion():
    with pytest.raises(ConfigError, match=r"no data set 'fashin-mnist'. Did you mean"):
        plan("mlp", "--data", "fashin-mnist")


def test_the_command_has_defaults_of_its_own():
    arguments = plan("mlp").arguments
    assert arguments == {"model": {}, "data": {"batch_size": 256}, "trainer": {"max_epochs": 10}}


def test_other_data_keep_their_batch_size():
    assert plan("linear-regression").settings["data"]["batch_size"] == 32


def test_every_argument_reaches_its_class():
    arguments = plan(
        *("mlp", "--num-hiddens", "256,128", "--lr", "0.5", "--batch-size", "64"),
        *("--max-epochs", "3", "--compile"),
    ).arguments
    assert arguments == {
        "model": {"num_hiddens": [256, 128], "lr": 0.5},
        "data": {"batch_size": 64},
        "trainer": {"max_epochs": 3, "compile": True},
    }


def test_underscores_are_as_good_as_dashes():
    assert plan("mlp", "--num_hiddens=64").arguments["model"] == {"num_hiddens": 64}


def test_negative_numbers_are_values():
    assert plan("linear-regression", "--b", "-1e-3").arguments["data"] == {"b": -0.001}


def test_the_settings_hold_the_defaults_too():
    assert plan("mlp", "--lr", "0.5").settings["model"] == {
        "num_outputs": 10,
        "num_hiddens": 256,
        "lr": 0.5,
        "activation": "relu",
        "dropout": 0.0,
    }


def test_an_unknown_option_gets_a_suggestion():
    text = usage_error("mlp", "--num-hidden", "3")
    assert text == (
        "There is no option '--num-hidden'. Did you mean '--num-hiddens'? "
        "`gradbook train mlp --help` lists them."
    )


def test_a_value_that_does_not_fit_names_its_option():
    assert usage_error("mlp", "--lr", "fast") == "--lr: expected a number, but got 'fast'"


def test_a_list_that_is_given_in_two_parts_is_refused():
    with pytest.raises(UsageError, match="are one list: --watch gradients,weights"):
        plan("mlp", "--watch", "gradients", "--watch", "weights")


def test_a_second_model_is_refused():
    assert "'softmax' is neither an option" in usage_error("mlp", "softmax")


@pytest.mark.parametrize("display", ["web", "notebook"])
def test_an_unknown_display_is_refused(display):
    assert "--display" in usage_error("mlp", "--display", display)


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", str(2**32)])
def test_a_seed_that_cannot_be_is_refused(seed):
    assert "--seed: expected a whole number from 0 to" in usage_error("mlp", f"--seed={seed}")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\\b"])
def test_a_name_that_is_no_folder_s_is_refused(name):
    assert "--name: expected a plain name" in usage_error("mlp", f"--name={name}")


# A learner's own classes


def test_undeclared_arguments_are_read_sensibly(write):
    arguments = plan(
        *(write(UNDECLARED), "--num-outputs", "10", "--num-hiddens", "[256,128]"),
        *("--lr", "1", "--dropout", "0.5"),
    ).arguments
    assert arguments["model"] == {
        "num_outputs": 10,
        "num_hiddens": [256, 128],
        "lr": 1.0,
        "dropout": 0.5,
    }


def test_undeclared_arguments_are_checked_against_their_defaults(write):
    text = usage_error(write(UNDECLARED), "--lr", "fast")
    assert text == "--lr: expected a number, as its default 0.1 is, but got 'fast'"


def test_a_required_argument_that_is_missing_is_named(write):
    text = usage_error(write(UNDECLARED), "--num-outputs", "3")
    assert text == (
        "MyNet needs num_hiddens, which has no default. Give --num-hiddens VALUE, or give "
        "MyNet.__init__ a default."
    )


def test_all_that_is_missing_is_named(write):
    text = usage_error(write(UNDECLARED))
    assert "num_outputs, num_hiddens, which have no defaults" in text


SHARED = """
import gradbook

class Shared(gradbook.Module):
    def __init__(self, max_epochs=7, deterministic=True):
        super().__init__()
        self.save_hyperparameters()
"""


def complete(write: Any, *arguments: str) -> Plan:
    required = ("--num-outputs", "1", "--num-hiddens", "1")
    return plan(write(UNDECLARED), *required, "--data", "my_file.py:MyData", *arguments)


def test_a_name_of_both_means_the_model_s(write):
    made = complete(write, "--batch-size", "7", "--data-batch-size", "8")
    assert made.arguments["model"]["batch_size"] == 7
    assert made.arguments["data"]["batch_size"] == 8


def test_where_an_option_of_both_went_is_said_and_how_to_name_the_other(write):
    said = r"--batch-size was given to the model, MyNet \(--model-batch-size\). Write "
    with pytest.warns(GradbookWarning, match=said + "--data-batch-size for the data set, MyData."):
        complete(write, "--batch-size", "7")


def test_an_option_of_the_command_that_the_model_has_too_is_said(write):
    said = "--name is the command's own. Write --model-name for the model, MyNet."
    with pytest.warns(GradbookWarning, match=said):
        complete(write, "--name", "run")


def test_the_trainer_s_own_can_be_named_whatever_the_model_has(write):
    made = plan(write(SHARED), "--trainer-max-epochs", "3", "--no-model-deterministic")
    assert made.arguments["trainer"]["max_epochs"] == 3
    assert made.arguments["model"] == {"deterministic": False}
    assert made.words[2:-2] == ["--no-model-deterministic", "--trainer-max-epochs", "3"]


def test_an_owner_may_be_named_where_there_is_no_doubt():
    made = plan("mlp", "--model-lr", "0.5", "--trainer-max-epochs", "3", "--data-batch-size", "8")
    assert words("mlp", "--model-lr", "0.5") == ["mlp", "--lr", "0.5"]
    assert (made.arguments["model"], made.arguments["data"]["batch_size"]) == ({"lr": 0.5}, 8)


def test_the_help_shows_both_names_of_what_several_have(write):
    with pytest.raises(HelpRequest) as asked:
        read_plan([write(SHARED), "--help"])
    text = str(asked.value)
    # Python 3.13 says once what both take.
    assert re.search("--max-epochs( INT)?, --model-max-epochs INT", text)
    assert "(default: 7; not --trainer-max-epochs)" in text


def test_what_repeats_a_run_names_the_owner_of_what_several_have(write):
    first = plan(write(SHARED), "--model-max-epochs", "2", "--trainer-max-epochs", "3")
    assert "--model-max-epochs 2 --trainer-max-epochs 3" in first.repeat
    assert plan(*shlex.split(first.repeat)[2:]) == first


def test_a_name_of_the_command_is_prefixed_for_the_model(write):
    made = complete(write, "--name", "run", "--model-name", "net")
    assert (made.name, made.arguments["model"]["name"]) == ("run", "net")


def test_a_module_that_is_no_classifier_learns_a_regression(write):
    made = plan(write(UNDECLARED), "--num-outputs", "1", "--num-hiddens", "1")
    assert made.data.name == "synthetic-regression"


# What repeats it


def words(*arguments: str) -> list[str]:
    return shlex.split(plan(*arguments, "--seed", "1").repeat)[2:-2]


def test_a_plain_training_is_repeated_plainly():
    assert plan("mlp", "--seed", "7").repeat == "gradbook train mlp --seed 7"


def test_a_drawn_seed_is_part_of_what_repeats_it():
    made = plan("mlp")
    assert made.repeat == f"gradbook train mlp --seed {made.seed}"


def test_every_training_draws_another_seed():
    assert plan("mlp").seed != plan("mlp").seed


def test_what_differs_from_a_default_is_repeated():
    assert words("mlp", "--lr", "0.5", "--num-hiddens", "64,32") == [
        *("mlp", "--num-hiddens", "64,32", "--lr", "0.5")
    ]


@pytest.mark.parametrize("given", [("--lr", "0.1"), ("--resize", "28,28"), ("--no-compile",)])
def test_what_equals_a_default_is_not_repeated(given):
    assert words("mlp", *given) == ["mlp"]


def test_a_switch_is_repeated():
    assert words("mlp", "--compile") == ["mlp", "--compile"]


def test_a_negative_value_is_tied_to_its_option():
    assert words("linear-regression", "--w", "-1,2") == ["linear-regression", "--w=-1,2"]


def test_the_canonical_name_is_repeated():
    assert words("softmax") == ["softmax-regression"]


def test_other_data_are_repeated():
    assert words("mlp", "--data", "synthetic-regression") == [
        *("mlp", "--data", "synthetic-regression")
    ]


def test_where_it_is_kept_is_repeated():
    assert words("mlp", "--runs", "my runs", "--name", "x") == [
        *("mlp", "--runs", "my runs", "--name", "x")
    ]


def test_how_it_is_shown_is_not_repeated():
    assert words("mlp", "--display", "lines", "--quiet", "--json") == ["mlp"]


def test_what_is_repeated_is_quoted():
    made = plan("mlp", "--root", "a b", "--seed", "1")
    assert "--root 'a b'" in made.repeat


def test_what_repeats_it_makes_the_same_plan(write):
    first = complete(write, "--lr", "0.25", "--model-name", "$x y", "--dropout", "1,2")
    assert plan(*shlex.split(first.repeat)[2:]) == first


def test_quiet_shows_no_curves():
    assert plan("mlp", "--quiet", "--display", "lines").display == "off"


def test_the_vertical_axis_is_chosen():
    assert plan("mlp").yscale == "auto"
    assert plan("mlp", "--yscale", "log").yscale == "log"
    assert "--yscale" in usage_error("mlp", "--yscale", "cubic")


def test_a_comparison_that_is_no_truth_is_no_equality():
    import torch

    assert not subject._same(torch.ones(2), torch.ones(2))


@pytest.mark.parametrize("seed", ["²", "9" * 5000])
def test_a_seed_that_is_no_number_is_explained(capsys, seed):
    assert main(["train", "mlp", "--seed", seed]) == 2
    assert "expected a whole number from 0 to" in capsys.readouterr().err
