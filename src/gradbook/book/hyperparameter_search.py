"""The hyperparameter search of the book: searchers, schedulers and a tuner. Book: 19.

`gradbook.sweep` and `gradbook search` are what the library itself offers for this.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from gradbook.checks import at_rest, check_number, check_whole_number, describe
from gradbook.devices import num_gpus
from gradbook.errors import ConfigError, DataError, ModelError
from gradbook.hparams import HyperParameters
from gradbook.trainer import Trainer

Config = dict[str, Any]


class HPOTrainer(Trainer):
    """A trainer that says how often the model that it has trained is wrong. Book: 19.1.1."""

    def validation_error(self) -> torch.Tensor:
        """The fraction of the validation examples that the model gets wrong.

        Returns:
            A tensor without dimensions, on the CPU.

        Raises:
            DataError: If there is no validation set.
            NotTrainedError: If nothing has been trained yet.
        """
        model, loader = self.model, self.val_dataloader
        if loader is None:
            raise DataError("There is no validation set, of which an error could be told.")
        num_right, count = torch.zeros((), dtype=torch.float64), 0
        with at_rest(model):
            for batch in loader:
                *inputs, y = self.prepare_batch(batch)
                # An accuracy is a mean: a short last batch counts less.
                num_right += model.accuracy(model(*inputs), y).cpu() * len(y)
                count += len(y)
        return (1 - num_right / count).float()


class HPOSearcher(HyperParameters):
    """Proposes what to try next: the base of all searchers. Book: 19.2.1."""

    def sample_configuration(self) -> Config:
        """The next configuration, as a dictionary from names to values."""
        raise ModelError(f"{type(self).__name__} lacks sample_configuration(), which proposes.")

    def update(self, config: Config, error: float, additional_info: Any = None) -> None:
        """Tells what came out, to searchers that learn from it; this one does not.

        Args:
            config: A configuration that was tried.
            error: Its validation error.
            additional_info: Whatever a scheduler has to say besides.
        """


class RandomSearcher(HPOSearcher):
    """Draws each value at random, independently of what came out before. Book: 19.2.1.

    Args:
        config_space: For each hyperparameter its distribution, an object with a method `rvs()`
            that draws a value, such as `scipy.stats.loguniform(0.01, 1)`.
        initial_config: What is proposed first; None draws that too.
    """

    config_space: dict[str, Any]
    initial_config: Config | None

    def __init__(self, config_space: dict[str, Any], initial_config: Config | None = None) -> None:
        self.save_hyperparameters()
        for name, domain in config_space.items():
            if not hasattr(domain, "rvs"):
                raise ConfigError(
                    f"config_space[{name!r}] is {domain!r}, which cannot draw values. It needs a "
                    f"distribution with a method rvs(), such as scipy.stats.uniform(0, 1), which "
                    f"`pip install scipy` brings."
                )

    def sample_configuration(self) -> Config:
        """The initial configuration the first time, then one that is drawn."""
        initial, self.initial_config = self.initial_config, None
        if initial is not None:
            return dict(initial)  # a scheduler adds to it
        return {name: domain.rvs() for name, domain in self.config_space.items()}


class HPOScheduler(HyperParameters):
    """Decides what is trained next, and for how long: the base of all schedulers. Book: 19.2.2."""

    def suggest(self) -> Config:
        """The next configuration, as the objective's arguments."""
        raise ModelError(f"{type(self).__name__} lacks suggest(), which says what to train next.")

    def update(self, config: Config, error: float, info: Any = None) -> None:
        """Takes what came out.

        Args:
            config: A configuration that `suggest` gave.
            error: Its validation error.
            info: Whatever else is known.
        """
        raise ModelError(f"{type(self).__name__} lacks update(), which takes what came out.")


class BasicScheduler(HPOScheduler):
    """Trains each configuration that its searcher proposes, in full. Book: 19.2.2.

    Args:
        searcher: Proposes the configurations.
    """

    searcher: HPOSearcher

    def __init__(self, searcher: HPOSearcher) -> None:
        self.save_hyperparameters()

    def suggest(self) -> Config:
        """The searcher's next proposal."""
        return self.searcher.sample_configuration()

    def update(self, config: Config, error: float, info: Any = None) -> None:
        """Tells the searcher."""
        self.searcher.update(config, error, additional_info=info)


class SuccessiveHalvingScheduler(HPOScheduler):
    """Trains many configurations for a short time, and the better ones for longer. Book: 19.4.1.

    A round begins with `prefact * eta ** K` configurations at `r_min` epochs; at each rung the
    best 1 / eta of them go on to eta times as many, until one is trained for `r_max`.

    Args:
        searcher: Proposes the configurations.
        eta: How many times fewer there are at the next rung, an integer of at least 2.
        r_min: The epochs of the first rung.
        r_max: The epochs of the last rung.
        prefact: Multiplies the number of configurations at each rung.

    Attributes:
        K: The number of rungs above the first.
        rung_levels: The epochs of each rung.
        queue: Configurations that are yet to be trained, the next one first.
        observed_error_at_rungs: What came out at each rung of the present round, as (config,
            error).
        all_observed_error_at_rungs: The same of all rounds.
    """

    searcher: HPOSearcher
    eta: int
    r_min: int
    r_max: int
    prefact: int

    def __init__(
        self, searcher: HPOSearcher, eta: int, r_min: int, r_max: int, prefact: int = 1
    ) -> None:
        self.save_hyperparameters()
        check_whole_number(eta, "eta", at_least=2)
        check_whole_number(r_min, "r_min", at_least=1)
        check_whole_number(r_max, "r_max", at_least=r_min)
        check_number(prefact, "prefact")
        if prefact < 1:  # nothing would reach the last rung, or none
            raise ConfigError(f"prefact must be at least 1, but it is {prefact!r}.")
        self.rung_levels = [r_min]
        while self.rung_levels[-1] * eta <= r_max:
            self.rung_levels.append(self.rung_levels[-1] * eta)
        if self.rung_levels[-1] < r_max:
            self.rung_levels.append(r_max)
        self.K = len(self.rung_levels) - 1
        self.queue: list[Config] = []
        self.observed_error_at_rungs: dict[int, list[tuple[Config, float]]] = defaultdict(list)
        self.all_observed_error_at_rungs: dict[int, list[tuple[Config, float]]] = defaultdict(list)

    def suggest(self) -> Config:
        """The first of the queue; of a new round if it is empty. Its max_epochs are the rung's."""
        if not self.queue:
            self.queue = [
                dict(self.searcher.sample_configuration(), max_epochs=self.r_min)
                for _ in range(self._num_configs(rung_idx=0))
            ]
        return self.queue.pop(0)

    def update(self, config: Config, error: float, info: Any = None) -> None:
        """Takes what came out; if that completes its rung, the best are queued for the next."""
        level = int(config["max_epochs"])
        self.searcher.update(config, error, additional_info=info)
        self.all_observed_error_at_rungs[level].append((config, error))
        if level == self.r_max:
            return
        self.observed_error_at_rungs[level].append((config, error))
        rung_idx = self.rung_levels.index(level)
        if len(self.observed_error_at_rungs[level]) < self._num_configs(rung_idx):
            return
        best = self.get_top_n_configurations(level, self._num_configs(rung_idx + 1))
        epochs = self.rung_levels[rung_idx + 1]
        # They come before those of a next round, which workers may have begun meanwhile.
        self.queue = [dict(config, max_epochs=epochs) for config in best] + self.queue
        self.observed_error_at_rungs[level] = []

    def get_top_n_configurations(self, rung_level: int, n: int) -> list[Config]:
        """The n best configurations of the present round at a rung, the best one first.

        Args:
            rung_level: The rung's epochs.
            n: How many.
        """
        ranked = sorted(
            self.observed_error_at_rungs[rung_level],
            key=lambda entry: math.inf if math.isnan(entry[1]) else entry[1],
        )
        return [config for config, _ in ranked[:n]]

    def _num_configs(self, rung_idx: int) -> int:
        return int(self.prefact * self.eta ** (self.K - rung_idx))


class HPOTuner(HyperParameters):
    """Tries one configuration after the other, and keeps the books. Book: 19.2.3.

    Args:
        scheduler: Says what is tried.
        objective: Called with a configuration as arguments; returns its validation error, a
            number or a tensor with one element.

    Attributes:
        incumbent: The best configuration so far, and `incumbent_error` its error; None at first.
        incumbent_trajectory: The best error after each trial.
        cumulative_runtime: The seconds that had gone by after each trial.
        current_runtime: The seconds of all trials.
        records: For each trial a dictionary with its "config", "error" and "runtime".
    """

    scheduler: HPOScheduler
    objective: Callable[..., Any]

    def __init__(self, scheduler: HPOScheduler, objective: Callable[..., Any]) -> None:
        self.save_hyperparameters()
        self.incumbent: Config | None = None
        self.incumbent_error: float | None = None
        self.incumbent_trajectory: list[float] = []
        self.cumulative_runtime: list[float] = []
        self.current_runtime = 0.0
        self.records: list[dict[str, Any]] = []

    def run(self, number_of_trials: int) -> None:
        """Tries so many configurations, and prints each with what came out.

        Raises:
            ModelError: If the objective returns no number.
        """
        for i in range(check_whole_number(number_of_trials, "number_of_trials", at_least=1)):
            began = time.perf_counter()
            config = self.scheduler.suggest()
            print(f"Trial {i}: config = {config}")
            error = _number(self.objective(**config))
            self.scheduler.update(config, error)
            runtime = time.perf_counter() - began
            self.bookkeeping(config, error, runtime)
            print(f"    error = {error}, runtime = {runtime}")

    def bookkeeping(self, config: Config, error: float, runtime: float) -> None:
        """Notes a trial. An error that is no number is worse than any.

        Args:
            config: What was tried.
            error: Its validation error.
            runtime: How long it took, in seconds.
        """
        self.records.append({"config": config, "error": error, "runtime": runtime})
        best = self.incumbent_error
        if best is None or error < best or math.isnan(best):
            self.incumbent, self.incumbent_error = config, error
        assert self.incumbent_error is not None
        self.incumbent_trajectory.append(self.incumbent_error)
        self.current_runtime += runtime
        self.cumulative_runtime.append(self.current_runtime)


def _number(error: Any) -> float:
    try:
        return float(error)
    except (TypeError, ValueError, RuntimeError):
        raise ModelError(
            f"The objective must return the validation error, one number, but it returned "
            f"{describe(error)}. End it with `return`, as in `return trainer.validation_error()`."
        ) from None


def hpo_objective_lenet(
    learning_rate: float, batch_size: int, max_epochs: int = 10
) -> torch.Tensor:
    """The validation error of LeNet on Fashion-MNIST; it trains on a GPU if there is one.

    Args:
        learning_rate: The learning rate of SGD.
        batch_size: Images in a batch.
        max_epochs: Passes over the training images.

    Returns:
        A tensor without dimensions, on the CPU. Book: 19.2.5.
    """
    from gradbook.datasets import FashionMNIST
    from gradbook.models.convolutional import LeNet, init_cnn

    model = LeNet(lr=learning_rate, num_classes=10)
    trainer = HPOTrainer(max_epochs=int(max_epochs), num_gpus=min(num_gpus(), 1))
    data = FashionMNIST(batch_size=int(batch_size))
    model.apply_init([next(iter(data.get_dataloader(True)))[0]], init_cnn)
    trainer.fit(model, data)
    return trainer.validation_error()
