"""What a learning curve says, in words and with its evidence.

`verdict` judges one training, `compare_settings` two settings by the values that they reach with
several seeds. The rules and their limits are described in docs/verdicts.md.
"""

from gradbook.lazy import listing
from gradbook.verdicts.comparison import SettingsComparison, compare_settings
from gradbook.verdicts.rules import Verdict, verdict

__all__ = ["SettingsComparison", "Verdict", "compare_settings", "verdict"]

__dir__ = listing(__all__)
