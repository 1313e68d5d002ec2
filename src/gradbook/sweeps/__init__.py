"""Training with many settings at once, and comparing what they reach."""

from typing import TYPE_CHECKING

from gradbook.lazy import lazy_names, listing

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
_HOMES = {
    "member_results": ("MemberResult", "SettingResult"),
    "results": ("Sweep", "load"),
    "run": ("sweep",),
    "values": ("Range", "lin_range", "log_range"),
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)

__getattr__ = lazy_names(__name__, _HOME_OF)
__dir__ = listing(__all__)
