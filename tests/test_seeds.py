import random

import numpy as np
import pytest
import torch

from gradbook import checkpoint, seed_everything
from gradbook.errors import ConfigError
from gradbook.seeds import (
    SEED_LIMIT,
    from_plain,
    generators_in,
    last_seed,
    random_state,
    restore_random_state,
    to_plain,
)


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


def test_the_last_seed_is_remembered():
    seed_everything(11)
    assert last_seed() == 11


def test_a_seed_that_is_refused_is_not_remembered():
    seed_everything(11)
    with pytest.raises(ConfigError):
        seed_everything(-1)
    assert last_seed() == 11


# The state of the generators


class Owner:
    """Holds generators of its own, as a sampler or a data set does."""

    def __init__(self, **generators):
        self.name, self.rows = "owner", [1, 2]
        self.__dict__.update(generators)


def test_a_state_that_is_restored_gives_the_same_numbers_again():
    state = random_state()
    first = draws()
    assert draws() != first
    restore_random_state(state)
    assert draws() == first


def test_looking_at_the_state_draws_nothing():
    seed_everything(3)
    random_state([torch.Generator()])
    looked = draws()
    seed_everything(3)
    assert draws() == looked


GENERATORS = {
    "torch": (torch.Generator().manual_seed(1), lambda g: torch.rand((), generator=g).item()),
    "PCG64": (np.random.default_rng(1), lambda g: g.random()),
    "MT19937": (np.random.Generator(np.random.MT19937(1)), lambda g: g.random()),
    "Philox": (np.random.Generator(np.random.Philox(1)), lambda g: g.random()),
    "SFC64": (np.random.Generator(np.random.SFC64(1)), lambda g: g.random()),
    "random": (random.Random(1), lambda g: g.gauss()),
    "RandomState": (np.random.RandomState(1), lambda g: g.normal()),
}


@pytest.mark.parametrize("kept", [lambda state: state, lambda state: from_plain(to_plain(state))])
@pytest.mark.parametrize(("generator", "draw"), GENERATORS.values(), ids=GENERATORS)
def test_generators_of_one_s_own_are_restored(generator, draw, kept):
    draw(generator)  # in the middle of a pair of normal numbers, for Python's
    state = kept(random_state([generator]))
    first = [draw(generator) for _ in range(5)]
    restore_random_state(state, [generator])
    assert [draw(generator) for _ in range(5)] == first


@pytest.mark.parametrize(("generator", "draw"), GENERATORS.values(), ids=GENERATORS)
def test_a_plain_state_comes_back_from_a_checkpoint(generator, draw, tmp_path):
    checkpoint.save(tmp_path / "a.pt", {"random": to_plain(random_state([generator]))})
    first, own = draws(), draw(generator)
    restore_random_state(from_plain(checkpoint.load(tmp_path / "a.pt")["random"]), [generator])
    assert (draws(), draw(generator)) == (first, own)


def test_a_generator_that_two_owners_share_is_found_once():
    shared = torch.Generator()
    assert generators_in([Owner(a=shared), Owner(b=shared)]) == [shared]


def test_generators_keep_their_order_however_they_were_set():
    first, second = torch.Generator(), torch.Generator()
    assert generators_in([Owner(a=first, b=second)]) == [first, second]
    assert generators_in([Owner(b=second, a=first)]) == [first, second]


def test_generators_are_found_within_what_owners_hold():
    generators = [np.random.RandomState(1), torch.Generator(), random.Random(1)]
    compose = Owner(transforms=[Owner(generator=generators[0])])
    owner = Owner(augment={"flip": compose}, own=[generators[1]], then=(Owner(a=generators[2]),))
    assert generators_in([owner]) == [generators[i] for i in (1, 2, 0)]  # the nearest first


def test_a_long_way_to_a_thing_does_not_hide_what_it_holds():
    generator = torch.Generator()
    thing = far = Owner(inner=Owner(generator=generator))
    for _ in range(5):
        far = Owner(next=far)
    assert generators_in([Owner(far=far, near=thing)]) == [generator]


def test_what_holds_itself_is_looked_at_once():
    owner = Owner(a=torch.Generator())
    owner.b = owner
    assert len(generators_in([owner])) == 1


def test_long_lists_are_not_looked_through():
    assert generators_in([Owner(rows=[torch.Generator()] * 1000)]) == []


@pytest.mark.parametrize("owner", [None, 3, [1, 2], object(), "text", torch.zeros(3)])
def test_what_holds_no_generator_has_none(owner):
    assert generators_in([owner]) == []


def test_the_state_of_an_accelerator_that_is_not_here_is_left_out(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    restore_random_state({**random_state(), "accelerator": torch.zeros(16, dtype=torch.uint8)})
