"""Attributes that an object has of one of its parts."""

from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class AskedOf(Generic[T]):
    """An attribute for which an object asks a part of it, and which is set there.

    Args:
        part: The name under which the object has the part, or None while there is none.
        default: What the attribute is without the part, unless the object was given another value;
            without a default, it is missing then.
    """

    def __init__(self, part: str, *default: T) -> None:
        self._part, self._default = part, default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, whole: None, owner: type) -> Any: ...
    @overload
    def __get__(self, whole: object, owner: type) -> T: ...
    def __get__(self, whole: object | None, owner: type) -> Any:
        if whole is not None:
            part = getattr(whole, self._part)
            if part is not None:
                return getattr(part, self._name)
            if self._name in vars(whole):
                return vars(whole)[self._name]
        if not self._default:
            raise AttributeError(self._name)  # whereupon Python asks the class's __getattr__
        return self._default[0]

    def __set__(self, whole: object, value: T) -> None:
        part = getattr(whole, self._part)
        if part is None:
            vars(whole)[self._name] = value
        else:
            setattr(part, self._name, value)
