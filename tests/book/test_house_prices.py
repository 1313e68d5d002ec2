"""Section 5.7, on a table that the test makes; the download finds it in place."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from d2l import torch as d2l

NAMES = ("kaggle_house_pred_train.csv", "kaggle_house_pred_test.csv")


def write_tables():
    rng = np.random.default_rng(0)
    folder = Path("../data")
    folder.mkdir(exist_ok=True)
    checksums = []
    for name, num_rows in zip(NAMES, (120, 40), strict=True):
        area = rng.normal(1500, 300, num_rows).round()
        quality = rng.integers(1, 10, num_rows).astype(float)
        table = pd.DataFrame(
            {
                "Id": range(1, num_rows + 1),
                "LotArea": np.where(rng.random(num_rows) < 0.1, np.nan, area),
                "Quality": quality,
                "Zone": rng.choice(["RL", "RM", None], num_rows),
            }
        )
        if "train" in name:
            table["SalePrice"] = (100000 + 50 * area + 9000 * quality).round()
        table.to_csv(folder / name, index=False)
        checksums.append(hashlib.sha1((folder / name).read_bytes()).hexdigest())
    return checksums


class KaggleHouse(d2l.DataModule):
    def __init__(self, batch_size, train=None, val=None, checksums=None):
        super().__init__()
        self.save_hyperparameters()
        if self.train is None:
            self.raw_train, self.raw_val = (
                pd.read_csv(d2l.download(d2l.DATA_URL + name, self.root, sha1_hash=checksum))
                for name, checksum in zip(NAMES, checksums, strict=True)
            )


@d2l.add_to_class(KaggleHouse)
def preprocess(self):
    label = "SalePrice"
    features = pd.concat(
        (self.raw_train.drop(columns=["Id", label]), self.raw_val.drop(columns=["Id"]))
    )
    numeric = features.dtypes[features.dtypes != "object"].index
    features[numeric] = features[numeric].apply(lambda x: (x - x.mean()) / x.std())
    features[numeric] = features[numeric].fillna(0)
    features = pd.get_dummies(features, dummy_na=True)
    self.train = features[: self.raw_train.shape[0]].copy()
    self.train[label] = self.raw_train[label]
    self.val = features[self.raw_train.shape[0] :].copy()


@d2l.add_to_class(KaggleHouse)
def get_dataloader(self, train):
    label = "SalePrice"
    data = self.train if train else self.val
    if label not in data:
        return None

    def get_tensor(x):
        return torch.tensor(x.values.astype(float), dtype=torch.float32)

    tensors = (
        get_tensor(data.drop(columns=[label])),
        torch.log(get_tensor(data[label])).reshape((-1, 1)),
    )
    return self.get_tensorloader(tensors, train)


def k_fold_data(data, k):
    rets = []
    fold_size = data.train.shape[0] // k
    for j in range(k):
        idx = range(j * fold_size, (j + 1) * fold_size)
        rets.append(KaggleHouse(data.batch_size, data.train.drop(index=idx), data.train.loc[idx]))
    return rets


def k_fold(trainer, data, k, lr):
    val_loss, models = [], []
    for i, data_fold in enumerate(k_fold_data(data, k)):
        model = d2l.LinearRegression(lr)
        model.board.yscale = "log"
        if i != 0:
            model.board.display = False
        trainer.fit(model, data_fold)
        val_loss.append(float(model.board.data["val_loss"][-1].y))
        models.append(model)
    return sum(val_loss) / len(val_loss), models


@pytest.fixture
def data():
    data = KaggleHouse(batch_size=64, checksums=write_tables())
    data.preprocess()
    return data


def test_tables_are_found_and_turned_into_numbers(data):
    assert data.raw_train.shape == (120, 5)
    assert data.train.shape == (120, 6)
    X, y = next(iter(data.train_dataloader()))
    assert (X.shape, y.shape) == ((64, 5), (64, 1))
    assert not X.isnan().any()


def test_without_labels_there_is_no_validation(data):
    assert data.val_dataloader() is None
    model = d2l.LinearRegression(0.01)
    d2l.Trainer(max_epochs=2).fit(model, data)
    assert list(model.board.data) == ["train_loss"]


@pytest.mark.slow
def test_k_fold_and_submission(data):
    loss, models = k_fold(d2l.Trainer(max_epochs=60), data, k=5, lr=0.1)
    assert loss < 0.05
    assert len(models) == 5
    X = torch.tensor(data.val.values.astype(float), dtype=torch.float32)
    ensemble = torch.exp(torch.cat([model(X) for model in models], 1)).mean(1)
    submission = pd.DataFrame({"Id": data.raw_val.Id, "SalePrice": ensemble.detach().numpy()})
    submission.to_csv("submission.csv", index=False)
    assert submission.SalePrice.between(1e5, 5e5).all()
