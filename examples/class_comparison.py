"""A class's trainings side by side: who trained what, what came of it, and does it come again.

    python class_comparison.py             the three learners of this file train first
    python class_comparison.py HANDED_IN   folders that learners handed in, HANDED_IN/NAME/RUN

Reading a folder runs no code of it. Training a run again does run its model's code: that of
gradbook's own models here. A learner's own class has to be given to `restore`; read it first.
"""

import sys
from pathlib import Path

import gradbook
from gradbook.runs import StoredRun, find_runs, restore
from gradbook.runs.comparison import save_overlay


def let_them_train(handed_in: Path) -> None:
    """What three learners do at home: each trains with another rate, and hands in the folder."""
    for name, lr in {"anna": 0.003, "ben": 0.03, "clara": 1.9}.items():
        gradbook.seed_everything(4)  # the seed is kept in the run, so that it can be repeated
        data = gradbook.SyntheticRegressionData()
        trainer = gradbook.Trainer(max_epochs=5, run=handed_in / name, display="off")
        trainer.fit(gradbook.LinearRegressionScratch(num_inputs=2, lr=lr), data)


def collect(handed_in: Path) -> dict[str, StoredRun]:
    """The runs by learner and name. A damaged one is named and passed over."""
    found = {}
    for folder in sorted(path for path in handed_in.iterdir() if path.is_dir()):
        for run in find_runs(folder):
            if isinstance(run, StoredRun):
                found[f"{folder.name}/{run.name}"] = run
            else:
                print(f"damaged: {run.folder}: {run.reason}")
    return found


def tell(runs: dict[str, StoredRun]) -> None:
    """A line for each run: the model, the rate, the seed, the end, and a verdict on the curve."""
    print(f"{'run':36} {'model':26} {'lr':>6} {'seed':>5} {'val_loss':>10}  verdict")
    for name, run in runs.items():
        model, lr = run.facts["model"]["name"], run.facts["model"]["hyperparameters"].get("lr")
        loss, seed = run.final.get("val_loss", float("nan")), run.facts["seed"]
        verdict = gradbook.verdict(run).label
        print(f"{name:36} {model:26} {lr!s:>6} {seed!s:>5} {loss:10.4g}  {verdict}")


def train_again(name: str, run: StoredRun) -> None:
    """Trains a run again from its settings and its seed, and compares each epoch."""
    before = restore(run)
    model, data = before.recipe.make()
    before.trainer.fit(model, data)
    same = before.trainer.history.rows == run.history.rows
    print(f"\n{name} trained again: {'the same to the last digit' if same else 'other figures'}")


def main() -> None:
    """Collects what was handed in, tells and draws it, and trains the first run again."""
    handed_in = Path(sys.argv[1] if len(sys.argv) > 1 else "handed-in")
    if len(sys.argv) == 1 and not handed_in.exists():
        let_them_train(handed_in)
    runs = collect(handed_in)
    tell(runs)
    save_overlay(list(runs.values()), [Path("class.png")])
    print("\npicture: class.png")
    train_again(*next(iter(runs.items())))


if __name__ == "__main__":
    main()
