"""What the label of a curve tells: whether more is better, and which one judges a training."""

from collections.abc import Iterable

#: The last parts of the names of what is best where it is highest, and where it is lowest.
_HIGHER = {"acc", "accuracy", "f1", "auc", "auroc", "r2", "precision", "recall", "iou", "bleu"}
_LOWER = {"loss", "error", "err", "mse", "mae", "rmse", "nll", "perplexity", "ppl"}


def higher_is_better(label: str) -> bool | None:
    """Whether a larger value of `label` is the better one; None where its name does not tell.

    What tells is the last part of the name, as "acc" of "val_acc".
    """
    name = label.rpartition("_")[2].lower()
    if name in _HIGHER:
        return True
    return False if name in _LOWER else None


def is_loss(label: str) -> bool:
    """Whether a training whose value of `label` is NaN or infinite has gone wrong.

    By its name it is a loss, or a measure of error, which is lowest where training is best.
    """
    return higher_is_better(label) is False


def is_perplexity(label: str) -> bool:
    """Whether a value of `label` is `exp` of a mean, by its name."""
    return label.rpartition("_")[2].lower() in ("ppl", "perplexity")


def headline(labels: Iterable[str]) -> str | None:
    """The label by which a training is judged, if nobody names another.

    A validation accuracy, or else a validation loss, or else what else is validated, or else the
    same of training, or else what there is. A learning rate that falls makes no epoch a better one.
    """
    labels = [label for label in labels if label != "lr"]
    for split in ("val_", "train_"):
        ours = [label for label in labels if label.startswith(split)]
        for label in (f"{split}acc", f"{split}loss", *ours):
            if label in ours:
                return label
    return next(iter(labels), None)
