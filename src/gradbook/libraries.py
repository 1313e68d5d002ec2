"""Whose code it is, told by its file: a learner's, or Python's, an installed library's or ours."""

from functools import cache, lru_cache
from pathlib import Path


@cache
def _folders() -> list[str]:
    import sysconfig  # only once it is asked: it reads how Python was built

    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return [*map(sysconfig.get_path, names), str(Path(__file__).parent)]


@lru_cache(maxsize=4096)  # a sweep asks for every module that is loaded
def is_library(file: str) -> bool:
    """Whether a file of code is Python's own, an installed library's or ours."""
    path = Path(file)
    if {"site-packages", "dist-packages"} & set(path.parts):  # of another environment, perhaps
        return True
    return file.startswith("<frozen") or any(map(path.is_relative_to, _folders()))
