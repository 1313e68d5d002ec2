"""Trainings whose curves are judged."""

import warnings

from gradbook.datasets import SyntheticRegressionData
from gradbook.errors import DivergenceWarning
from gradbook.models import LinearRegressionScratch
from gradbook.seeds import seed_everything
from gradbook.trainer import Trainer


def trained(make_model, make_data, num_epochs, seed, **settings):
    seed_everything(seed)
    trainer = Trainer(num_epochs, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        trainer.fit(make_model(), make_data())
    return trainer


def regression(lr, num_epochs, seed):
    return trained(
        lambda: LinearRegressionScratch(2, lr), SyntheticRegressionData, num_epochs, seed
    )
