import pytest
import torch

from gradbook import DataModule, LinearRegression, Trainer


class Data(DataModule):
    """Four batches of two examples for training, one for validation."""

    def __init__(self, batch_size=2):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.randn(10, 1)
        self.y = 2 * self.X + 1

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train, slice(8) if train else slice(8, 10))


@pytest.fixture
def fit():
    """Trains a small model with a tracker, and returns the trainer."""

    def fit(*trackers, max_epochs=2, lr=0.01, model=None):
        trainer = Trainer(max_epochs=max_epochs, display="off", sinks=trackers)
        trainer.fit(model or LinearRegression(lr=lr), Data())
        return trainer

    return fit


@pytest.fixture
def interrupted_model():
    """A model during whose training Ctrl-C is pressed."""

    class Interrupted(LinearRegression):
        def validation_step(self, batch):
            raise KeyboardInterrupt

    return Interrupted(lr=0.01)
