"""Training with many settings at once, and comparing what they reach."""

from gradbook.sweeps.results import MemberResult, SettingResult, Sweep, load
from gradbook.sweeps.run import sweep
from gradbook.sweeps.values import Range, lin_range, log_range

__all__ = [
    "MemberResult",
    "Range",
    "SettingResult",
    "Sweep",
    "lin_range",
    "load",
    "log_range",
    "sweep",
]
