import importlib.metadata
import pickle
import re

import pytest

from gradbook import errors
from gradbook.errors import shown, told

ERRORS = {
    "ConfigError": ValueError,
    "ModelError": NotImplementedError,
    "BatchError": ValueError,
    "ShapeError": RuntimeError,
    "DataError": ValueError,
    "CorruptFileError": ValueError,
    "CheckpointError": ValueError,
    "StorageError": OSError,
    "DownloadError": OSError,
    "MissingExtraError": ImportError,
    "RankLostError": ConnectionError,
    "NotCarriedError": AttributeError,
    "NotTrainedError": AttributeError,
}
WARNINGS = ["IgnoredSettingWarning", "SampleDataWarning", "DivergenceWarning"]


@pytest.mark.parametrize(("name", "builtin"), ERRORS.items())
def test_an_error_is_ours_and_the_builtin_that_fits(name, builtin):
    assert issubclass(getattr(errors, name), errors.GradbookError)
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning_is_ours_and_of_the_kind_that_is_shown(name):
    assert issubclass(getattr(errors, name), errors.GradbookWarning)
    assert issubclass(getattr(errors, name), UserWarning)


def test_no_class_is_missing_from_these_tests():
    classes = {
        name
        for name, value in vars(errors).items()
        if getattr(value, "__module__", "") == errors.__name__ and isinstance(value, type)
    }
    assert classes == {"GradbookError", "GradbookWarning", *ERRORS, *WARNINGS}


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn = re.findall(r"^ *[│ ]*[├└]── (\w+) *(?:\((\w+)\))?", errors.__doc__, re.MULTILINE)
    assert [name for name, _ in drawn] == [*ERRORS, *WARNINGS]
    for name, builtin in drawn:
        if builtin:
            assert ERRORS[name].__name__ == builtin


@pytest.mark.parametrize("name", [name for name in ERRORS if name != "MissingExtraError"])
def test_an_error_survives_a_process_boundary(name):
    error = pickle.loads(pickle.dumps(getattr(errors, name)("what, which, how")))
    assert type(error).__name__ == name
    assert str(error) == "what, which, how"


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    error = errors.MissingExtraError.of("onnx", "Exporting", "onnx")
    assert "'onnx'" in str(error)
    assert str(error).startswith("Exporting needs")
    command = str(error).partition("Install it with: ")[2].split()
    assert command[:2] == ["pip", "install"]
    assert sorted(command[2:]) == ["onnx", "onnxruntime", "onnxscript"]


def test_a_missing_package_of_no_extra_is_named_alone():
    error = errors.MissingExtraError.of("lists", "Recording", "no-such-extra")
    assert str(error).endswith("Install it with: pip install lists")


def test_a_missing_package_is_named_alone_where_gradbook_was_never_installed(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    error = errors.MissingExtraError.of("onnx", "Exporting", "onnx")
    assert str(error).endswith("Install it with: pip install onnx")


def test_the_nearest_known_name_is_suggested():
    assert errors.did_you_mean("softmx", ["mlp", "softmax"]) == " Did you mean 'softmax'?"


def test_nothing_is_suggested_for_a_name_like_none_other():
    assert errors.did_you_mean("zzz", ["mlp", "softmax"]) == ""


def test_names_to_suggest_may_come_from_a_generator():
    assert "mlp" in errors.did_you_mean("mpl", (name for name in ["mlp"]))


def test_an_error_is_told_in_a_line():
    assert errors.told(ValueError("odd")) == "ValueError: odd"


def test_what_has_no_text_is_told_all_the_same():
    class Speechless(Exception):
        def __str__(self):
            raise RuntimeError

        __repr__ = __str__

    told = "<Speechless, whose text cannot be made: RuntimeError>"
    assert errors.told(Speechless()) == f"Speechless: {told}"
    assert errors.text_of(Speechless(), repr) == told


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        (2**64, "18446744073709551616"),
        ("9" * 5000, "'999999999999999999999999999999999999999...' (5000 characters)"),
        pytest.param(10**5000, "a whole number of about 5000 digits", id="digits"),
    ],
)
def test_a_value_of_any_length_is_shown_briefly(value, text):
    assert shown(value) == text


def test_a_value_that_cannot_be_shown_is_told():
    class Mute:
        def __repr__(self):
            raise ValueError

    assert "cannot be made" in shown(Mute())


def test_an_error_is_told_without_calls_in_c_plus_plus():
    error = RuntimeError("size\nException raised from f at /a.h:7 (most recent call first):\nx")
    assert told(error) == "RuntimeError: size"
