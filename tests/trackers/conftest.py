import pytest
import torch
from tests.small import Data

from gradbook import LinearRegression, Trainer


@pytest.fixture
def fit():
    """Trains with a tracker, four batches of two examples an epoch; returns the trainer."""

    def fit(*trackers, max_epochs=2, lr=0.01, model=None):
        X = torch.randn(10, 1)
        trainer = Trainer(max_epochs=max_epochs, display="off", sinks=trackers)
        trainer.fit(model or LinearRegression(lr=lr), Data(X, 2 * X + 1, batch_size=2))
        return trainer

    return fit


@pytest.fixture
def interrupted_model():
    """A model during whose training Ctrl-C is pressed."""

    class Interrupted(LinearRegression):
        def validation_step(self, batch):
            raise KeyboardInterrupt

    return Interrupted(lr=0.01)
