import random

import numpy as np
import pytest
import torch

from gradbook import seed_everything
from gradbook.errors import ConfigError
from gradbook.seeds import SEED_LIMIT


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_the_same_seed_gives_the_same_numbers_in_every_generator():
    seed_everything(5)
    first = draws()
    seed_everything(5)
    assert draws() == first


def test_another_seed_gives_other_numbers():
    seed_everything(5)
    first = draws()
    seed_everything(6)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_the_seed_comes_back():
    assert seed_everything(7) == 7


def test_a_seed_drawn_by_chance_repeats_its_numbers():
    seed = seed_everything()
    first = draws()
    seed_everything(seed)
    assert draws() == first


def test_a_seed_drawn_by_chance_does_not_follow_the_seeded_generator():
    random.seed(0)
    first = seed_everything()
    random.seed(0)
    assert seed_everything() != first


@pytest.mark.parametrize("seed", [0, SEED_LIMIT - 1])
def test_the_ends_of_the_range_are_seeds(seed):
    assert seed_everything(seed) == seed


@pytest.mark.parametrize("seed", [-1, SEED_LIMIT, 1.0, "3", True])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ConfigError, match="seed must be a whole number"):
        seed_everything(seed)
