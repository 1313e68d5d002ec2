"""How far the probabilities of a classifier can be trusted."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often predictions are right that are made with about the same probability.

    Attributes:
        edges: The edges of the bins of probability, of shape (num_bins + 1,).
        counts: The examples in each bin, int64 of shape (num_bins,).
        confidence: The mean probability in each bin, float64; NaN in an empty one.
        accuracy: The part of right predictions in each bin, float64; NaN in an empty one.
    """

    edges: torch.Tensor
    counts: torch.Tensor
    confidence: torch.Tensor
    accuracy: torch.Tensor

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |accuracy - confidence| over examples."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num(0)
        return float((gaps * self.counts).sum() / self.counts.sum())
