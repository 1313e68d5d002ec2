"""Run folders, as a training leaves them."""

from pathlib import Path

from gradbook.history import History
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog, results_of, write_run

STARTED = "2025-03-01T12:00:00+00:00"


def facts_of(name, **changes):
    """The facts of a finished run of three epochs; keyword arguments replace some."""
    return {
        "format": "gradbook run",
        "version": 1,
        "name": name,
        "status": "finished",
        "error": None,
        "command": ["train", "mlp", "--lr", "0.1", "--seed", "1"],
        "model": {
            "name": "mlp",
            "class": "gradbook.models.mlp.MLP",
            "hyperparameters": {"num_outputs": 10, "num_hiddens": 256, "lr": 0.1},
            "num_parameters": 203530,
        },
        "data": {
            "name": "fashion-mnist",
            "class": "gradbook.datasets.fashion_mnist.FashionMNIST",
            "hyperparameters": {"batch_size": 256, "resize": [28, 28]},
            "source": "system",
            "is_sample": False,
            "num_train": 60000,
            "num_val": 10000,
        },
        "trainer": {
            "class": "gradbook.trainer.Trainer",
            "hyperparameters": {"max_epochs": 3, "num_gpus": 0, "gradient_clip_val": 0},
        },
        "optimizer": {"class": "gradbook.optim.SGD", "settings": {"lr": 0.1}},
        "seed": 1,
        "device": "cpu",
        "versions": {"python": "3.12.0", "torch": "2.6.0", "numpy": "2.2.0", "gradbook": "0.1.0"},
        "platform": "Linux",
        "git": {"commit": "1a2b3c4", "dirty": False},
        "sessions": [
            {"started": STARTED, "ended": STARTED, "status": "finished", "first_epoch": 0}
        ],
        "started": STARTED,
        "ended": STARTED,
        "seconds": 12.5,
        "max_epochs": 3,
        "epochs": 0,
        "steps": 705,
        "final": {},
        "best": {},
        "diverged": None,
        "process": {"pid": 1, "host": "here"},
        "metrics": None,
        **changes,
    }


def metrics_of(epochs=3, rate=0.1):
    """What a training that learns at this rate records: points and epoch means."""
    metrics = []
    for epoch in range(1, epochs + 1):
        loss = 2.3 / (1 + rate * 10 * epoch)
        for label, y in (("train_loss", loss), ("val_loss", loss + 0.1), ("val_acc", 1 - loss / 3)):
            metrics.append(Metric(label, float(epoch), y + 0.01, "point"))
            metrics.append(Metric(label, epoch, y, "epoch"))
    return metrics


def make_run(name="mlp-1", metrics=None, hyperparameters=None, **changes):
    """Makes a run's folder in "runs", with every file of a finished training, and returns it.

    Args:
        name: Of the folder.
        metrics: What was recorded.
        hyperparameters: Those of the model that differ from the usual ones.
        changes: Facts that differ.
    """
    folder = Path("runs", name)
    (folder / "checkpoints").mkdir(parents=True)
    log = MetricsLog(folder)
    rows = {}
    for metric in metrics_of() if metrics is None else metrics:
        log.append(metric)
        if metric.kind == "epoch":
            rows.setdefault(metric.x, {"epoch": metric.x})[metric.label] = metric.y
    log.close()
    facts = facts_of(name)
    facts["model"]["hyperparameters"].update(hyperparameters or {})
    facts["optimizer"]["settings"]["lr"] = facts["model"]["hyperparameters"]["lr"]
    if changes.get("status") != "running":
        facts |= results_of(History(rows.values()))
        facts["metrics"] = {"lines": log.lines, "crc": log.crc}
    write_run(folder, facts | changes)
    for file in ("curve.svg", "curve.png", "checkpoints/last.pt", "checkpoints/best.pt"):
        (folder / file).write_bytes(b"content")
    (folder / "lock").touch()
    return folder
