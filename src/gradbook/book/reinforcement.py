"""The frozen lake, and pictures of what is learned on it. Book: 17, and the appendix.

The book's cells use OpenAI's package gym, which ended in 2022 and does not work with today's NumPy.
Its successor gymnasium is used instead, behind the calls of the old one.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradbook.checks import check_whole_number
from gradbook.errors import ConfigError, MissingExtraError, ShapeError

if TYPE_CHECKING:
    import numpy as np

#: Where the arrow of each action points: left, down, right, up. In an image, y grows downward.
_ARROWS = ((-0.25, 0), (0, 0.25), (0.25, 0), (0, -0.25))
_COLORS = {b"H": "y", b"G": "w"}
_COLUMNS = 4


class _OldCalls:
    """An environment of gymnasium, called as the book's cells call one of gym.

    Args:
        env: The environment.
        seed: The seed of the first episode; the following ones go on from there.

    Whatever else is asked of it is the environment's.
    """

    def __init__(self, env: Any, seed: int) -> None:
        self._env = env
        self._seed: int | None = seed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # as while it is copied, before it has an environment
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self) -> Any:
        """Begins an episode, and returns its first state."""
        seed, self._seed = self._seed, None
        state, _ = self._env.reset(seed=seed)
        return state

    def step(self, action: Any) -> tuple[Any, float, bool, dict[str, Any]]:
        """Takes an action: the next state, the reward, whether the episode has ended, and more."""
        state, reward, has_ended, is_cut, info = self._env.step(action)
        return state, reward, has_ended or is_cut, info


def make_env(name: str = "", seed: int = 0) -> dict[str, Any]:
    """What the chapter's algorithms need to know of an environment. Book: 17.2.7.

    Args:
        name: "FrozenLake-v1", the only one that there is.
        seed: The seed of its random numbers.

    Returns:
        The dictionary that `frozen_lake` describes.

    Raises:
        ConfigError: If the name is another one.
        MissingExtraError: If gymnasium is not installed.
    """
    if name != "FrozenLake-v1":
        raise ConfigError(f"There is no environment {name!r} here: it must be 'FrozenLake-v1'.")
    return frozen_lake(seed)


def frozen_lake(seed: int) -> dict[str, Any]:
    """A lake of 4 x 4 fields, to be crossed without a step into a hole; the ice is not slippery.

    States are the fields, row by row; actions are 0 left, 1 down, 2 right, 3 up.

    Args:
        seed: The seed of the environment and of its `action_space`.

    Returns:
        A dictionary with the keys
            desc: the lake, an array (4, 4) of b"S" for the start, b"F" for frozen, b"H" for a hole
                and b"G" for the goal;
            num_states, num_actions: 16 and 4;
            mdp: for each (state, action) the list of what may follow, in tuples of
                (probability, next state, reward, whether the episode ends there);
            trans_prob_idx, nextstate_idx, reward_idx, done_idx: the places in these tuples;
            env: the environment, with `reset()`, which returns a state, and `step(action)`, which
                returns (state, reward, done, info). An episode ends after 100 steps at the latest.

    Raises:
        ConfigError: If the seed is no whole number of at least 0.
        MissingExtraError: If gymnasium is not installed.
    """
    seed = check_whole_number(seed, "seed", at_least=0)
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise
        raise MissingExtraError.of("gymnasium", "The frozen lake", "gymnasium") from None
    env = gymnasium.make("FrozenLake-v1", is_slippery=False)
    # Any stream will do; with this one Q-learning comes to the goal within the 256 episodes that
    # section 17.3 takes, with its seed of 0.
    env.action_space.seed(seed + 1)
    lake: Any = env.unwrapped
    return {
        "desc": lake.desc,
        "num_states": len(lake.P),
        "num_actions": len(lake.P[0]),
        "trans_prob_idx": 0,
        "nextstate_idx": 1,
        "reward_idx": 2,
        "done_idx": 3,
        "mdp": {
            (state, action): outcomes
            for state, actions in lake.P.items()
            for action, outcomes in actions.items()
        },
        "env": _OldCalls(env, seed),
    }


def show_value_function_progress(env_desc: Any, V: Any, pi: Any) -> None:
    """Draws the value of each state as its shade and the policy as arrows, for each iteration.

    Args:
        env_desc: The lake, (rows, columns) of one byte each, as `make_env` returns it.
        V: Values (num_iters, num_states), where states go row by row.
        pi: The action of each state, (num_iters, num_states).

    Book: 17.2.7.
    """
    _show(env_desc, V, pi, range(len(V)))


def show_Q_function_progress(env_desc: Any, V_all: Any, pi_all: Any) -> None:
    """Draws the same for about every tenth part of the iterations, and the last. Book: 17.3.5.

    Args:
        env_desc: The lake, as above.
        V_all: Values (num_iters, num_states).
        pi_all: The action of each state, (num_iters, num_states).
    """
    last = len(V_all) - 1
    shown = [*range(0, last, max(len(V_all) // 10, 1)), last]
    _show(env_desc, V_all, pi_all, shown)


def _show(env_desc: Any, V: Any, pi: Any, shown: Sequence[int]) -> None:
    import numpy as np
    from matplotlib import pyplot as plt

    lake, V, pi = np.asarray(env_desc), np.asarray(V), np.asarray(pi)
    if V.ndim != 2 or V.shape != pi.shape or V.shape[1] != lake.size or len(V) == 0:
        raise ShapeError(
            f"Values and actions have the shape (num_iters, {lake.size}) for a lake of "
            f"{lake.size} fields, but they have {V.shape} and {pi.shape}."
        )
    num_rows = math.ceil(len(shown) / _COLUMNS)
    _, grid = plt.subplots(
        num_rows, _COLUMNS, figsize=(15, 3.75 * num_rows), squeeze=False, layout="tight"
    )
    for ax in grid.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, k in zip(grid.flat, shown, strict=False):
        _draw(ax, lake, V[k].reshape(lake.shape), pi[k].reshape(lake.shape))
        ax.set_title(f"Step = {k + 1}", fontsize=20)


def _draw(ax: Any, lake: "np.ndarray[Any, Any]", V: Any, pi: Any) -> None:
    """One iteration: fields with their letters, and arrows where one can go on."""
    num_rows, num_columns = lake.shape
    ax.imshow(V, cmap="bone")
    ax.set_xticks([i - 0.5 for i in range(num_columns + 1)], minor=True)
    ax.set_yticks([i - 0.5 for i in range(num_rows + 1)], minor=True)
    ax.grid(which="minor", color="w", linewidth=3)
    ax.tick_params(which="minor", bottom=False, left=False)
    ax.set_xticks([])
    ax.set_yticks([])
    for y in range(num_rows):
        for x in range(num_columns):
            field = bytes(lake[y, x])
            is_end = field in _COLORS
            ax.text(
                x,
                y,
                field.decode(),
                ha="center",
                va="center",
                fontweight="bold",
                color=_COLORS.get(field, "g"),
                size=20 if is_end else 15,
            )
            if not is_end:
                ax.arrow(x, y, *_ARROWS[int(pi[y, x])], color="r", head_width=0.2, head_length=0.15)
