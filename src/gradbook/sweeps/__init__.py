"""Training with many settings at once, and comparing what they reach."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradbook.sweeps.member_results import MemberResult as MemberResult
    from gradbook.sweeps.member_results import SettingResult as SettingResult
    from gradbook.sweeps.results import Sweep as Sweep
    from gradbook.sweeps.results import load as load
    from gradbook.sweeps.run import sweep as sweep
    from gradbook.sweeps.values import Range as Range
    from gradbook.sweeps.values import lin_range as lin_range
    from gradbook.sweeps.values import log_range as log_range

#: Where each name lives. It is imported when it is first used, so that a worker that only runs a
#: call does not wait for what plans one.
_HOME_OF = {
    "MemberResult": "member_results",
    "Range": "values",
    "SettingResult": "member_results",
    "Sweep": "results",
    "lin_range": "values",
    "load": "results",
    "log_range": "values",
    "sweep": "run",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gradbook.sweeps' has no attribute {name!r}")
    value = getattr(import_module(f"gradbook.sweeps.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
