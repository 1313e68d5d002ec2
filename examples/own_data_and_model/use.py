"""Trains the model of weather.py on its data, looks at it, compares settings, and hands it on."""

import torch

import gradbook
from weather import Noon, Weather


def main() -> None:
    """From a first training to a file with the parameters."""
    gradbook.seed_everything(1)
    data = Weather()

    # 1. Train. The run is kept in runs/noon-1, and a line at the end says what came of it.
    model = Noon()
    trainer = gradbook.Trainer(max_epochs=60, run="runs")
    trainer.fit(model, data)

    # 2. Look at it: the errors in degrees, and how much of the variance is explained (R2).
    print(gradbook.inspection.inspect(model, data))

    # 3. Compare: does the hidden layer help, and how wide should it be?
    widths = gradbook.sweep(
        Noon, Weather, num_hiddens=[0, 4, 16, 64], seed=range(3), max_epochs=60, display="off"
    )
    print(widths)
    widths.save("widths.png")

    # 4. Find it again later, with the parameters of its best epoch.
    found = gradbook.runs.restore("noon-1", model=Noon, data=Weather)
    print(found.trainer.validate(found.model, found.data))

    # 5. Hand it on: one file, which gives the same predictions elsewhere.
    trainer.save_model("noon.pt", "best")
    elsewhere = gradbook.load_model("noon.pt", Noon)
    X, _ = next(iter(data.val_dataloader()))
    assert torch.equal(elsewhere(X), found.model(X))

    # Arrays at hand need no class: inputs and labels will do.
    pair = (data.X[:180], data.y[:180]), (data.X[180:], data.y[180:])
    trainer = gradbook.Trainer(max_epochs=20, display="off")
    trainer.fit(Noon(num_hiddens=0, lr=0.5), pair)
    print(trainer.history[-1])


if __name__ == "__main__":
    main()
