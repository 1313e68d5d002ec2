"""Recording with Weights & Biases."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from gradbook.errors import ConfigError
from gradbook.trackers import Setting, Tracker

if TYPE_CHECKING:
    from wandb import Run


class WandB(Tracker):
    """Records into a folder that `wandb sync FOLDER` uploads, or at once to a server.

    Offline nothing leaves this machine. Neither source code nor facts about the machine are
    recorded. A training that fails or diverges ends with the exit code 1, an interrupted one with
    130; the word for it is in the run's summary, under "status".

    Args:
        project: The project that the runs belong to.
        mode: "offline", or "online" to send everything to the server that wandb is logged in to.
        folder: Where wandb makes its folder, which it calls `wandb`.

    Raises:
        ConfigError: If there is no such mode.
        MissingExtraError: If wandb is not installed.
    """

    module = package = extra = "wandb"
    # It would report errors and durations of its own, and leave threads for that.
    variables: ClassVar[Mapping[str, str]] = {"WANDB_ERROR_REPORTING": "false"}

    _run: "Run | None" = None
    _owns_service = False

    def __init__(
        self,
        project: str = "gradbook",
        mode: Literal["offline", "online"] = "offline",
        folder: Path | str = "runs",
    ) -> None:
        if mode not in ("offline", "online"):
            raise ConfigError(f"mode must be 'offline' or 'online', but is {mode!r}.")
        super().__init__()
        self.project, self.mode = project, mode
        self.folder = Path(folder).absolute()  # the working folder may change

    def _begin(self, name: str, settings: Mapping[str, Setting]) -> None:
        import wandb

        self._owns_service = "WANDB_SERVICE" not in os.environ
        self._hooks = sys.exit, sys.excepthook
        Path(self.folder).mkdir(parents=True, exist_ok=True)  # or it takes a temporary folder
        self._run = wandb.init(
            project=self.project,
            mode=self.mode,
            dir=str(self.folder),
            name=name,
            config=dict(settings),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
        self._run.define_metric("epoch/*", step_metric="epoch")

    def _record(self, name: str, value: float, step: int) -> None:
        if self._run is not None:
            row = {name: value}
            if name.startswith("epoch/"):
                row["epoch"] = step
            # wandb's own step never goes back, so that one count serves both kinds.
            self._run.log(row, step=self._step)

    def _end(self, status: str) -> None:
        import wandb

        run, self._run = self._run, None
        try:
            if run is not None:
                run.summary["status"] = status
                run.finish(exit_code={"finished": 0, "interrupted": 130}.get(status, 1))
        finally:
            if self._owns_service:
                wandb.teardown()
                sys.exit, sys.excepthook = self._hooks  # wandb puts its own there, and leaves them
