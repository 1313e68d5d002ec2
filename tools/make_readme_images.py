"""Makes the README's pictures from a real training: docs/images/terminal.svg and notebook.svg."""

import io
from pathlib import Path

import torch
from rich.console import Console

from gradbook import MLP, FashionMNIST, Sink, Trainer
from gradbook.display.picture import Picture
from gradbook.display.terminal import TerminalDisplay

IMAGES = Path(__file__).parent.parent / "docs" / "images"


class LastPicture(Sink):
    """Keeps what a terminal shows in the middle of the ninth epoch, and nothing before it."""

    def __init__(self) -> None:
        self.console = Console(
            record=True, width=80, height=24, file=io.StringIO(), force_terminal=True
        )
        self.display = TerminalDisplay(console=self.console, min_seconds=1e9)

    def open(self, board, trainer=None):
        """Opens the display that is to be photographed."""
        self.trainer = trainer
        self.display.open(board, trainer)

    def write(self, metric):
        """Takes the picture when the moment has come."""
        if metric.label == "train_loss" and metric.kind == "point" and self.trainer.epoch == 8:
            self.console.export_text()  # empties the record
            self.display.refresh()
            self.svg = self.console.export_svg(title="gradbook train mlp")

    def close(self, status):
        """Closes the display."""
        self.display.close(status)


def main() -> None:
    """Trains the MLP of section 5.2 and saves both pictures."""
    torch.manual_seed(1)
    terminal = LastPicture()
    model = MLP(num_outputs=10, num_hiddens=256, lr=0.1)
    Trainer(max_epochs=10, display="off", sinks=[terminal]).fit(model, FashionMNIST(256))
    (IMAGES / "terminal.svg").write_text(terminal.svg, encoding="utf-8")
    picture = Picture(model.board)
    picture.update()
    (IMAGES / "notebook.svg").write_text(picture.svg(text=False), encoding="utf-8")


if __name__ == "__main__":
    main()
