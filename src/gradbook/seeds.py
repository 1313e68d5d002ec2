"""Random numbers that can be repeated."""

import random

import numpy as np
import torch

from gradbook.errors import ConfigError

#: NumPy takes seeds below this only; Python and PyTorch take larger ones.
SEED_LIMIT = 2**32


def seed_everything(seed: int | None = None) -> int:
    """Seeds the random generators of Python, NumPy and PyTorch on all devices.

    Args:
        seed: A whole number from 0 to 2**32 - 1; None draws one by chance.

    Returns:
        The seed, so that a drawn one can be noted down.

    Raises:
        ConfigError: If the seed is no such number.
    """
    if seed is None:
        seed = random.SystemRandom().randrange(SEED_LIMIT)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEED_LIMIT:
        raise ConfigError(
            f"seed must be a whole number from 0 to {SEED_LIMIT - 1}, but it is {seed!r}."
        )
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed
