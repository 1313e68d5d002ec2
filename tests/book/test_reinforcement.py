import random
import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrow

from gradbook.book.reinforcement import (
    make_env,
    show_Q_function_progress,
    show_value_function_progress,
)
from gradbook.errors import ConfigError, MissingExtraError, ShapeError

LAKE = np.array([list("SF"), list("HG")], dtype="S1")


@pytest.fixture
def env_info():
    return make_env("FrozenLake-v1", seed=0)


def walk(env_info, policy):
    """The fields that a policy visits, and what it earned."""
    env = env_info["env"]
    state, done, earned, visited = env.reset(), False, 0.0, []
    while not done:
        visited.append(state)
        state, reward, done, _ = env.step(policy[state])
        earned += reward
    return visited, earned


def arrows(ax):
    return [patch for patch in ax.patches if isinstance(patch, FancyArrow)]


def direction(arrow):
    """Where the tip lies from the middle of the arrow's base, in steps of a field."""
    tip = arrow.get_xy()[0]
    return (np.round(tip - np.round(tip), 2)).tolist()


# The lake


def test_the_lake_is_described(env_info):
    assert env_info["desc"].shape == (4, 4)
    assert env_info["desc"][0, 0] == b"S"
    assert env_info["desc"][3, 3] == b"G"
    assert (env_info["num_states"], env_info["num_actions"]) == (16, 4)
    assert len(env_info["mdp"]) == 64


def test_each_action_has_one_outcome_as_the_ice_is_not_slippery(env_info):
    for outcomes in env_info["mdp"].values():
        assert sum(outcome[env_info["trans_prob_idx"]] for outcome in outcomes) == 1
        assert len(outcomes) == 1
    (to_the_right,) = env_info["mdp"][(14, 2)]
    assert to_the_right[env_info["nextstate_idx"]] == 15
    assert to_the_right[env_info["reward_idx"]] == 1
    assert to_the_right[env_info["done_idx"]]


def test_value_iteration_finds_the_shortest_way(env_info):
    gamma, V, pi = 0.95, np.zeros(16), np.zeros(16, dtype=int)
    for _ in range(10):
        Q = np.zeros((16, 4))
        for (state, action), outcomes in env_info["mdp"].items():
            for probability, following, reward, _ in outcomes:
                Q[state, action] += probability * (reward + gamma * V[following])
        V, pi = Q.max(1), Q.argmax(1)
    assert V[0] == pytest.approx(gamma**5)  # the goal is six steps away
    visited, earned = walk(env_info, pi)
    assert (len(visited), earned) == (6, 1)


@pytest.mark.slow
def test_q_learning_solves_the_lake(env_info):
    random.seed(0)
    env, Q = env_info["env"], np.zeros((16, 4))
    for _ in range(256):
        state, done = env.reset(), False
        while not done:
            greedy = random.random() >= 0.9
            action = np.argmax(Q[state]) if greedy else env.action_space.sample()
            following, reward, done, _ = env.step(action)
            Q[state, action] += 0.9 * (reward + 0.95 * Q[following].max() - Q[state, action])
            state = following
    visited, earned = walk(env_info, Q.argmax(1))
    assert (len(visited), earned) == (6, 1)


def test_an_episode_ends_after_a_hundred_steps(env_info):
    visited, earned = walk(env_info, [0] * 16)
    assert (len(visited), earned) == (100, 0)


def test_the_same_seed_draws_the_same_actions(env_info):
    other = make_env("FrozenLake-v1", seed=0)
    for _ in range(20):
        assert env_info["env"].action_space.sample() == other["env"].action_space.sample()


def test_another_environment_is_refused():
    with pytest.raises(ConfigError, match=r"'CartPole-v1'.*FrozenLake-v1"):
        make_env("CartPole-v1")


def test_without_gymnasium_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingExtraError, match="pip install gymnasium"):
        make_env("FrozenLake-v1")


# Pictures


def test_values_are_drawn_for_each_iteration():
    V, pi = np.random.rand(6, 4), np.zeros((6, 4))
    show_value_function_progress(LAKE, V, pi)
    axes = plt.gcf().axes
    drawn = [ax for ax in axes if ax.images]
    assert [ax.get_title() for ax in drawn] == [f"Step = {k}" for k in range(1, 7)]
    np.testing.assert_array_equal(drawn[4].images[0].get_array(), V[4].reshape(2, 2))
    assert [text.get_text() for text in drawn[0].texts] == ["S", "F", "H", "G"]


def test_arrows_point_where_the_actions_lead_and_stand_only_where_one_goes_on():
    pi = np.array([[0, 1, 2, 3], [2, 3, 0, 0]])
    show_value_function_progress(LAKE, np.zeros((2, 4)), pi)
    first, second = [arrows(ax) for ax in plt.gcf().axes[:2]]
    assert len(first) == len(second) == 2
    assert direction(first[0])[0] < 0  # left
    assert direction(first[1])[1] > 0  # down
    assert direction(second[0])[0] > 0  # right
    assert direction(second[1])[1] < 0  # up, which the original draws to the left


@pytest.mark.parametrize(
    ("num_iters", "steps"), [(256, [*range(1, 252, 25), 256]), (3, [1, 2, 3]), (1, [1])]
)
def test_of_many_iterations_about_ten_are_drawn_and_the_last(num_iters, steps):
    show_Q_function_progress(LAKE, np.zeros((num_iters, 4)), np.zeros((num_iters, 4)))
    drawn = [ax for ax in plt.gcf().axes if ax.images]
    assert [ax.get_title() for ax in drawn] == [f"Step = {step}" for step in steps]


def test_values_of_another_lake_are_refused():
    with pytest.raises(ShapeError, match=r"\(num_iters, 4\).*\(3, 16\)"):
        show_value_function_progress(LAKE, np.zeros((3, 16)), np.zeros((3, 16)))
