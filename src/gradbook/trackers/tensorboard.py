"""Recording with TensorBoard."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradbook.storage import claim_folder
from gradbook.trackers import Setting, Tracker


class TensorBoard(Tracker):
    """Records into event files, which `tensorboard --logdir FOLDER` shows.

    Each training gets a new folder, such as `runs/tensorboard/mlp-1`. Its settings and how it
    ended stand under "HParams", where trainings are compared.

    Args:
        folder: Where these folders are made.

    Raises:
        MissingExtraError: If tensorboard is not installed.
    """

    module = "torch.utils.tensorboard"
    package = extra = "tensorboard"

    _writer: Any = None

    def __init__(self, folder: Path | str = "runs/tensorboard") -> None:
        super().__init__()
        self.folder = Path(folder).absolute()  # the working folder may change

    def _begin(self, name: str, settings: Mapping[str, Setting]) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        folder = str(claim_folder(self.folder, name))
        self._writer = SummaryWriter(folder, flush_secs=10)
        # Not `add_hparams`, which makes a run of its own, and wants the metrics before there are
        # any. Without a list of them TensorBoard takes all that were recorded.
        _, start, _ = hparams(dict(settings), {})  # type: ignore[no-untyped-call]
        self._writer.file_writer.add_summary(start)

    def _record(self, name: str, value: float, step: int) -> None:
        if self._writer is not None:
            self._writer.add_scalar(name, value, step)

    def _end(self, status: str) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.file_writer.add_summary(_session_end(status))
            writer.add_text("status", status)
        finally:
            writer.close()


def _session_end(status: str) -> Any:
    """How a training ended, as "HParams" reads it. PyTorch's own `hparams` knows only success."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2  # type: ignore[import-untyped]

    finished = status == "finished"
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS if finished else api_pb2.STATUS_FAILURE,
        end_time_secs=time.time(),
    )
    content = plugin_data_pb2.HParamsPluginData(session_end_info=end)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
