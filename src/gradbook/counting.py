"""How many batches an epoch has: what the loaders gave, where that is not what their len() says."""

from typing import TYPE_CHECKING

from gradbook.board import draws_on_ours
from gradbook.errors import GradbookWarning, warn
from gradbook.resume.loader import Split

if TYPE_CHECKING:
    from gradbook.training import Training


def count(training: "Training", split: Split, num_batches: int) -> None:
    """Takes the batches that a pass has given so far for those of every epoch.

    What has been counted is counted anew, so that x is the epoch and no more than its end.
    """
    _ = training.setup  # which tells of the loaders by what they said
    trainer, epoch = training.trainer, training.position.epoch
    before = getattr(trainer, f"num_{split}_batches")
    setattr(trainer, f"num_{split}_batches", num_batches)
    if split == "train":
        training.history.steps_per_epoch = num_batches
    # A loop of the learner's own may count in its own way, or not at all.
    if getattr(trainer, f"{split}_batch_idx") == epoch * before + num_batches:
        setattr(trainer, f"{split}_batch_idx", (epoch + 1) * num_batches)


def recount(training: "Training") -> None:
    """At the end of an epoch, goes by the batches that its loaders gave, not by their len()."""
    texts, position, trainer = [], training.position, training.trainer
    for split, given in position.given.items():
        before = position.counted[split]
        if given == before == getattr(trainer, f"num_{split}_batches"):
            continue
        count(training, split, given)
        position.counted[split] = given
        if draws_on_ours(trainer.model):
            trainer.model.board.close_windows(f"{split}_")
        if given == before or position.told.count(split) > 1:
            continue
        loader = trainer.train_dataloader if split == "train" else trainer.val_dataloader
        name = {"train": "training", "val": "validation"}[split]
        told = f"The {name} set gave {given} batches in epoch {position.epoch + 1}"
        if split in position.told:
            texts.append(f"{told}, after {before} in the one before: it varies.")
        else:
            texts.append(f"{told}, but its len() is {len(loader)}.")
            if given > before and getattr(loader, "num_workers", 0) > 1:
                texts.append(
                    "Each of its workers may give all examples: see get_worker_info() in "
                    "torch.utils.data."
                )
        position.told.append(split)
    if texts:
        texts.append("From here on, an epoch is as many batches as came in the last.")
        warn(" ".join(texts), GradbookWarning)
