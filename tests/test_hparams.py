import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch

from gradbook.errors import ConfigError
from gradbook.hparams import HyperParameters, add_to_class, plain, qualified_name


class Plain(HyperParameters):
    def __init__(self, a, b=2):
        self.save_hyperparameters()


def test_arguments_become_attributes_and_hparams():
    thing = Plain(1)
    assert (thing.a, thing.b) == (1, 2)
    assert thing.hparams == {"a": 1, "b": 2}


def test_ignored_arguments_are_not_kept():
    class Thing(HyperParameters):
        def __init__(self, a, b, c):
            self.save_hyperparameters(ignore=["b"])

    thing = Thing(1, 2, 3)
    assert thing.hparams == {"a": 1, "c": 3}
    assert not hasattr(thing, "b")


def test_names_with_an_underscore_are_not_kept():
    class Thing(HyperParameters):
        def __init__(self, a, _secret=5):
            self.save_hyperparameters()

    assert Thing(1).hparams == {"a": 1}
    assert not hasattr(Thing(1), "_secret")


def test_local_variables_are_not_kept():
    class Thing(HyperParameters):
        def __init__(self, a):
            doubled = 2 * a
            self.save_hyperparameters()
            self.result = doubled

    assert Thing(1).hparams == {"a": 1}


def test_the_instance_is_not_kept_whatever_its_name():
    class Thing(HyperParameters):
        def __init__(this, a):
            this.save_hyperparameters()

    assert Thing(1).hparams == {"a": 1}


def test_keyword_only_arguments_are_kept():
    class Thing(HyperParameters):
        def __init__(self, a, *, lr=0.1):
            self.save_hyperparameters()

    assert Thing(1, lr=0.5).hparams == {"a": 1, "lr": 0.5}


def test_collected_arguments_are_attributes_and_stand_in_hparams_by_name():
    class Thing(HyperParameters):
        def __init__(self, *sizes, **options):
            self.save_hyperparameters()

    thing = Thing(3, 4, lr=0.1)
    assert (thing.sizes, thing.options) == ((3, 4), {"lr": 0.1})
    assert thing.hparams == {"sizes": (3, 4), "lr": 0.1}


@pytest.mark.parametrize(
    ("ignore", "kept"), [("lr", {"k": 2}), (["options"], {}), ("k", {"lr": 0.1})]
)
def test_collected_arguments_can_be_ignored_one_by_one_or_all(ignore, kept):
    class Thing(HyperParameters):
        def __init__(self, **options):
            self.save_hyperparameters(ignore)

    assert Thing(lr=0.1, k=2, _secret=3).hparams == kept


def test_the_fields_of_a_dataclass_are_kept():
    @dataclasses.dataclass
    class Thing(HyperParameters):
        lr: float = 0.1
        made: int = dataclasses.field(default=0, init=False)

        def __post_init__(self):
            self.save_hyperparameters()

    assert Thing(0.5).hparams == {"lr": 0.5}


def test_a_subclass_keeps_what_its_base_saved():
    class Sub(Plain):
        def __init__(self, c):
            super().__init__(a=10)
            self.save_hyperparameters()

    assert Sub(3).hparams == {"a": 10, "b": 2, "c": 3}


def test_a_subclass_that_renames_a_default_wins_over_its_base():
    class Sub(Plain):
        def __init__(self, a):
            super().__init__(a="base")
            self.save_hyperparameters()

    assert Sub("sub").a == Sub("sub").hparams["a"] == "sub"


def test_the_base_s_dictionary_is_not_changed_by_the_subclass():
    seen = []

    class Sub(Plain):
        def __init__(self, c):
            super().__init__(a=1)
            seen.append(self.hparams)
            self.save_hyperparameters()

    Sub(3)
    assert seen == [{"a": 1, "b": 2}]


def test_an_argument_that_a_closure_captures_is_kept():
    class Thing(HyperParameters):
        def __init__(self, a):
            self.save_hyperparameters()
            self.read = lambda: a

    assert Thing(1).hparams == {"a": 1}
    assert Thing(1).read() == 1


def test_an_argument_given_anew_before_saving_is_kept_as_it_is_then():
    class Thing(HyperParameters):
        def __init__(self, a=None):
            a = 7 if a is None else a
            self.save_hyperparameters()

    assert Thing().a == 7


def test_instances_do_not_share_hyperparameters():
    first, second = Plain(1), Plain(2)
    assert first.hparams == {"a": 1, "b": 2}
    assert second.hparams == {"a": 2, "b": 2}


def test_a_tensor_is_kept_as_the_same_object():
    w = torch.ones(2)
    assert Plain(w).a is w


def test_add_to_class_reaches_live_instances():
    class Thing:
        pass

    thing = Thing()

    @add_to_class(Thing)
    def speak(self):
        return "hello"

    assert thing.speak() == "hello"


def test_a_second_definition_replaces_the_first():
    class Thing:
        pass

    thing = Thing()
    for word in ("first", "second"):

        @add_to_class(Thing)
        def speak(self, word=word):
            return word

    assert thing.speak() == "second"


def test_add_to_class_gives_the_function_back():
    class Thing:
        pass

    @add_to_class(Thing)
    def speak(self):
        return 1

    assert speak is Thing.speak


def test_add_to_class_without_a_class_says_how_it_is_written():
    with pytest.raises(ConfigError, match=r"function 'greet'.*`@add_to_class\(Module\)`"):

        @add_to_class
        def greet(self):
            return "hello"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Plain(1), r"object of the class Plain.*`@add_to_class\(Plain\)`"),
        ("Plain", r"'Plain'.*`@add_to_class\(Plain\)`"),
        ("no name", r"'no name'.*`@add_to_class\(Module\)`"),
        (None, r"None.*`@add_to_class\(Module\)`"),
        (lambda self: 1, r"function '<lambda>'.*`@add_to_class\(Module\)`"),
        ([Plain], r"object of the class list"),
    ],
    ids=["instance", "name", "text", "None", "lambda", "list"],
)
def test_add_to_class_takes_nothing_but_a_class(given, told):
    with pytest.raises(ConfigError, match=told):
        add_to_class(given)


def test_a_property_is_added_as_a_property():
    class A:
        pass

    @add_to_class(A)
    @property
    def kind(self):
        return "added"

    @add_to_class(A)
    @functools.cached_property
    def kept(self):
        return object()

    a = A()
    assert a.kind == "added"
    assert a.kept is a.kept


def test_static_and_class_methods_are_added_as_such():
    class A:
        pass

    @add_to_class(A)
    @staticmethod
    def double(x):
        return 2 * x

    @add_to_class(A)
    @classmethod
    def name_of(cls):
        return cls.__name__

    assert (A.double(2), A().double(3), A().name_of()) == (4, 6, "A")


@pytest.mark.parametrize(
    ("added", "found"),
    [
        (3, "got 3"),
        (lambda self: 3, "a lambda, which has no name"),
        (functools.partial(print, 1), r"functools\.partial"),
    ],
)
def test_what_has_no_name_is_not_added(added, found):
    class A:
        pass

    with pytest.raises(ConfigError, match=rf"{found}.*`def` below `@add_to_class\(A\)`"):
        add_to_class(A)(added)


def test_a_class_of_python_s_own_takes_no_methods():
    with pytest.raises(ConfigError, match=r"own class int\. Derive a class from it and add"):

        @add_to_class(int)
        def twice(self):
            return 2 * self


class Worker(HyperParameters):
    def __init__(self, work=None, size=None, hparams=None):
        names = {"work": work, "size": size, "hparams": hparams}
        self.save_hyperparameters(ignore=[name for name in names if names[name] is None])

    def work(self):
        return "worked"

    @property
    def size(self):
        return 3


@pytest.mark.parametrize(
    ("given", "why", "other"),
    [
        ({"work": 5}, r"it would hide the method Worker\.work", "work_value"),
        ({"work": "hard"}, r"it would hide the method Worker\.work", "work_name"),
        ({"size": 5}, r"Worker\.size is a property, which cannot be set", "size_value"),
        ({"hparams": {"a": 1}}, r"Worker\.hparams is set by the library", "hparams_value"),
    ],
)
def test_a_hyperparameter_that_would_hide_a_method_is_refused(given, why, other):
    (name,) = given
    with pytest.raises(ConfigError, match=rf"{name}=.*{why}.*such as '{other}'.*\['{name}'\]"):
        Worker(**given)


def test_a_function_may_take_the_place_of_a_method():
    worker = Worker(work=lambda: "another")
    assert worker.work() == "another"
    assert Worker().work() == "worked"


def test_the_field_of_a_dataclass_may_be_a_function_by_default():
    @dataclasses.dataclass
    class Options(HyperParameters):
        loss: object = torch.nn.functional.mse_loss

        def __post_init__(self):
            self.save_hyperparameters()

    assert Options("mse").hparams == {"loss": "mse"}


def test_add_to_class_can_replace_init():
    class Thing(Plain):
        pass

    @add_to_class(Thing)
    def __init__(self, z):
        self.save_hyperparameters()

    assert Thing(9).hparams == {"z": 9}


def test_a_missing_argument_is_python_s_own_error():
    with pytest.raises(TypeError, match="a"):
        Plain()


def test_one_name_may_be_ignored_without_a_list():
    class One(HyperParameters):
        def __init__(self, lr, rate):
            self.save_hyperparameters(ignore="lr")

    assert One(0.1, 2).hparams == {"rate": 2}


# Written down


@pytest.mark.parametrize("value", [None, True, 3, 0.1, "text", [], {}])
def test_what_is_plain_stays_as_it_is(value):
    assert plain(value) == value
    assert type(plain(value)) is type(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, [3])), [1, [2, [3]]]),
        ({1: (2,), "a": None}, {"1": [2], "a": None}),
        ({3}, [3]),
        (torch.tensor([[1.0, 2.0]]), [[1.0, 2.0]]),
        (torch.tensor(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (np.int64(3), 3),
        (torch.zeros(200, 3), "(200, 3) float32, checksum 381c4040"),
        (np.zeros((200, 3)), "(200, 3) float64, checksum 381c4040"),
        (torch.eye(3).to_sparse(), "(3, 3) float32"),
        (torch.empty(2, device="meta"), "(2,) float32"),
        (PurePosixPath("a/b"), "a/b"),
        (torch.nn.ReLU, "torch.nn.modules.activation.ReLU"),
        (torch.nn.ReLU(), "torch.nn.modules.activation.ReLU"),
        (len, "builtins.len"),
        (torch.float16, "torch.dtype"),
    ],
)
def test_everything_else_becomes_plain(value, expected):
    assert plain(value) == expected


@pytest.mark.parametrize("value", [np.float64(0.1), np.str_("a")])
def test_numbers_and_texts_of_numpy_become_python_s(value):
    assert type(plain(value)).__module__ == "builtins"


@pytest.mark.slow
def test_a_set_is_written_down_the_same_way_in_every_process():
    code = "from gradbook.hparams import plain; print(plain(set('abcdefgh')))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in "123"
    }
    assert len(told) == 1


def test_a_class_is_named_with_where_it_is_defined():
    class Inner:
        pass

    assert qualified_name(HyperParameters) == "gradbook.hparams.HyperParameters"
    assert qualified_name(Inner).endswith("defined.<locals>.Inner")
