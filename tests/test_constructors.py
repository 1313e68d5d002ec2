"""What a class is made from."""

import functools
import inspect

import pytest

from gradbook.constructors import constructor_of, make
from gradbook.errors import ConfigError
from gradbook.hparams import HyperParameters


class Base(HyperParameters):
    def __init__(self, width: int = 3, lr: float = 0.1):
        self.save_hyperparameters()


class HandsOn(Base):
    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.save_hyperparameters()


class GivesOne(Base):
    def __init__(self, extra, **kwargs):
        super().__init__(width=5, **kwargs)
        self.save_hyperparameters()


class GivesOneByPlace(Base):
    def __init__(self, **kwargs):
        super().__init__(5, **kwargs)


class HandsOnPlaces(Base):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters()


class OnlyPlaces(Base):
    def __init__(self, *args):
        super().__init__(*args)


class Every(HyperParameters):
    def __init__(self, a, /, b, *sizes, c=3, **options):
        self.save_hyperparameters()


class SkipsABase(HandsOn):
    def __init__(self, extra=0, **kwargs):
        Base.__init__(self, **kwargs)
        self.save_hyperparameters()


class Mixin:
    def __init__(self, mixed=0, **kwargs):
        super().__init__(**kwargs)


class Mixed(Mixin, Base):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.save_hyperparameters()


class TakesOneOut(Base):
    def __init__(self, **kwargs):
        self.dropout = kwargs.get("dropout", 0.5)
        self.save_hyperparameters()
        kwargs.pop("dropout", None)
        super().__init__(**kwargs)


class KeepsAll(HyperParameters):
    def __init__(self, **options):
        self.save_hyperparameters()


def with_wraps(init):
    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        return init(self, *args, **kwargs)

    return wrapper


def without_wraps(init):
    def wrapper(self, *args, **kwargs):
        return init(self, *args, **kwargs)

    return wrapper


class Wrapped(Base):
    @with_wraps
    def __init__(self, scale=1, **kwargs):
        super().__init__(**kwargs)


class Hidden(Base):
    @without_wraps
    def __init__(self, scale=1, **kwargs):
        super().__init__(**kwargs)


class Declared(HyperParameters):
    __signature__ = inspect.signature(lambda a, b=2: None)

    def __init__(self, *args, **kwargs):
        pass


@pytest.mark.parametrize(
    ("Class", "names", "is_open"),
    [
        (Base, ["width", "lr"], False),
        (HandsOn, ["scale", "width", "lr"], False),
        (GivesOne, ["extra", "lr"], False),
        (GivesOneByPlace, ["lr"], False),
        (HandsOnPlaces, ["width", "lr"], False),
        (OnlyPlaces, ["width", "lr"], False),
        (Every, ["a", "b", "c"], True),
        (SkipsABase, ["extra", "width", "lr"], False),
        (Mixed, ["mixed", "width", "lr"], False),
        (TakesOneOut, ["width", "lr"], True),
        (KeepsAll, [], True),
        (Wrapped, ["scale", "width", "lr"], False),
        (Hidden, [], True),
        (Declared, ["a", "b"], False),
        (type("Derived", (HandsOn,), {}), ["scale", "width", "lr"], False),
        (HyperParameters, [], False),
    ],
)
def test_what_a_class_is_made_from_is_followed_through_its_bases(Class, names, is_open):
    constructor = constructor_of(Class)
    assert list(constructor.parameters) == names
    assert constructor.is_open is is_open


def test_code_whose_text_is_not_at_hand_is_taken_to_hand_on_to_its_base():
    names = {"Base": Base}
    exec(
        "class Typed(Base):\n def __init__(self, q, **kw): super(Typed, self).__init__(**kw)", names
    )
    assert list(constructor_of(names["Typed"]).parameters) == ["q", "width", "lr"]


def test_annotations_and_defaults_are_those_of_the_base():
    width = constructor_of(HandsOn).parameters["width"]
    assert (width.annotation, width.default, width.kind) == (int, 3, width.KEYWORD_ONLY)


@pytest.mark.parametrize(
    "thing",
    [
        HandsOn(2, lr=0.3),
        GivesOne(1, lr=0.3),
        HandsOnPlaces(4, 0.2),
        HandsOnPlaces(4, lr=0.2),
        OnlyPlaces(9, 0.4),
        Every(1, 2, 5, 6, c=9, lr=0.7),
        Every(1, b=2),
        SkipsABase(3, width=8),
        Mixed(width=1),
        TakesOneOut(dropout=0.1, lr=3),
        KeepsAll(u=3),
    ],
)
def test_hparams_make_the_object_again(thing):
    again = make(type(thing), constructor_of(type(thing)).among(thing.hparams))
    assert again.hparams == thing.hparams


def test_what_older_runs_kept_of_collected_arguments_is_read_too():
    kept = constructor_of(HandsOn).among({"scale": 2, "kwargs": {"lr": 0.5}, "depth": 1})
    assert kept == {"scale": 2, "lr": 0.5}


def test_what_is_not_kept_and_has_no_default_is_missing():
    constructor = constructor_of(GivesOne)
    assert constructor.missing({"lr": 1}) == ["extra"]
    assert constructor_of(Every).missing({"a": 1, "sizes": (1,)}) == ["b"]
    with pytest.raises(ConfigError, match="b has no default, and is not given"):
        make(Every, {"a": 1, "sizes": (1,)})


class Meta(type):
    def __call__(cls, *args):
        return super().__call__(*args)


class ByMeta(metaclass=Meta):
    def __init__(self, a):
        pass


class ByNew:
    def __new__(cls, b):
        return super().__new__(cls)

    def __init__(self, b):
        pass


@pytest.mark.parametrize(
    ("Class", "why"),
    [
        (ByMeta, "its metaclass Meta has a __call__ of its own"),
        (ByNew, "it has a __new__ with arguments of its own"),
        (functools.partial(Base, lr=1), "is no class"),
    ],
)
def test_a_class_that_is_made_in_another_way_is_refused(Class, why):
    with pytest.raises(ConfigError, match=why):
        constructor_of(Class)


def test_a_new_that_takes_anything_leaves_the_word_to_init():
    class Counted(Base):
        def __new__(cls, *args, **kwargs):
            return super().__new__(cls)

    assert list(constructor_of(Counted).parameters) == ["width", "lr"]
