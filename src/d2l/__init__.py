"""The package name that the book's code imports: `from d2l import torch as d2l`.

It holds names only. What they stand for is in `gradbook`.
"""

_OTHERS = ("jax", "mxnet", "paddle", "tensorflow")


def __getattr__(name: str) -> object:
    if name in _OTHERS:
        raise ImportError(
            f"gradbook works on PyTorch only, so there is no d2l.{name}. Write: "
            f"from d2l import torch as d2l",
            name=f"d2l.{name}",
        )
    raise AttributeError(f"module 'd2l' has no attribute {name!r}", name=name)
