"""Attention: scores, weights that leave out padding, several heads, and positions.

Book: 11.3 (sec_attention-scoring-functions), 11.5 (sec_multihead-attention), 11.6
(sec_self-attention-and-positional-encoding).
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from gradbook.checks import (
    check_dropout,
    check_tensor,
    check_whole_number,
    describe,
    enough_memory,
)
from gradbook.errors import BatchError, ConfigError, ShapeError, shown
from gradbook.module import Module


def masked_softmax(X: torch.Tensor, valid_lens: torch.Tensor | None) -> torch.Tensor:
    """The softmax over the last axis, with a weight of 0 for what is beyond the valid lengths.

    Where a valid length is 0, all weights are 0, as in PyTorch's `scaled_dot_product_attention`;
    elsewhere they add up to 1.

    Args:
        X: Scores (batch, num_queries, num_keys), floating point. They stay as they are.
        valid_lens: How many keys count, from the first on: (batch,) for all queries of an example,
            or (batch, num_queries); None for all keys.

    Returns:
        The weights, in the shape of `X`.

    Raises:
        ShapeError: If `valid_lens` has another shape, or `X` is no tensor.
        BatchError: If the scores are whole numbers.

    >>> masked_softmax(torch.zeros(2, 1, 4), torch.tensor([2, 4]))
    tensor([[[0.5000, 0.5000, 0.0000, 0.0000]],
    <BLANKLINE>
            [[0.2500, 0.2500, 0.2500, 0.2500]]])

    Book: 11.3.2.
    """
    check_tensor(X, "X", "...", "num_keys")
    if not X.is_floating_point():
        raise BatchError(
            f"The softmax needs floating-point scores, but got {describe(X)}. Convert them: "
            f"`X.float()`."
        )
    if valid_lens is None:
        return F.softmax(X, dim=-1)
    _check_lengths(valid_lens, X, "scores")
    lengths = valid_lens.reshape(*valid_lens.shape, *[1] * (X.dim() - valid_lens.dim()))
    is_beyond = torch.arange(X.shape[-1], device=X.device) >= lengths
    # Not with minus infinity: of a row that has nothing else it would make NaN on the way.
    weights = F.softmax(X.masked_fill(is_beyond, torch.finfo(X.dtype).min), dim=-1)
    return weights.masked_fill(is_beyond, 0)


def _check_lengths(valid_lens: torch.Tensor, X: torch.Tensor, name: str) -> None:
    """Raises ShapeError unless there is one for each example of X, or for each of its queries."""
    if not isinstance(valid_lens, torch.Tensor):
        raise ShapeError(f"valid_lens must be a tensor, but it is {shown(valid_lens)}.")
    if valid_lens.shape not in (X.shape[:1], X.shape[:2]):
        raise ShapeError(
            f"For {name} of shape {tuple(X.shape)}, valid_lens has the shape {tuple(X.shape[:1])} "
            f"or {tuple(X.shape[:2])}, but it is {tuple(valid_lens.shape)}."
        )


class _Attention(nn.Module):
    """The average of values by weights that a subclass scores."""

    dropout: nn.Dropout
    attention_weights: torch.Tensor

    def _scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """How well each query and key fit: (batch, num_queries, num_keys)."""
        raise NotImplementedError

    def forward(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        valid_lens: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The average of the values for each query, by its weights.

        Args:
            queries: A tensor (batch, num_queries, num_query_features).
            keys: A tensor (batch, num_keys, num_key_features).
            values: A tensor (batch, num_keys, num_values).
            valid_lens: As `masked_softmax` takes them.

        Returns:
            A tensor (batch, num_queries, num_values).

        Raises:
            ShapeError: If these do not fit together.
        """
        _check_attended(queries, keys, values)
        weights = masked_softmax(self._scores(queries, keys), valid_lens)
        # With its graph, it would keep the memory of a step until the next, and no copy of the
        # model could be made.
        self.attention_weights = weights.detach()
        return torch.bmm(self.dropout(weights), values)


def _check_attended(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
    """Raises ShapeError unless there is a key for each value, and as many examples of all three."""
    check_tensor(queries, "queries", "batch", "num_queries", "num_features")
    check_tensor(keys, "keys", len(queries), "num_keys", "num_features")
    check_tensor(values, "values", len(queries), keys.shape[1], "num_features")


class DotProductAttention(_Attention):
    """Scaled dot-product attention: softmax(Q K^T / sqrt(d)) V, for queries and keys of one size d.

    Args:
        dropout: The probability with which each weight is set to zero in training.

    Attributes:
        attention_weights: The weights of the last call, before the dropout: (batch, num_queries,
            num_keys), as values without a graph.

    Book: 11.3.3.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        check_dropout(dropout)
        self.dropout = nn.Dropout(dropout)

    def _scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        if queries.shape[-1] != keys.shape[-1]:
            raise ShapeError(
                f"The dot product needs queries and keys of one size, but they have "
                f"{queries.shape[-1]} and {keys.shape[-1]} features. Bring them to one size with "
                f"a linear layer, or use AdditiveAttention."
            )
        return torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(queries.shape[-1])


class AdditiveAttention(_Attention):
    """Additive attention: the score of a query and a key is w_v^T tanh(W_q q + W_k k).

    Args:
        num_hiddens: The number of hidden units.
        dropout: The probability with which each weight is set to zero in training.
        **kwargs: Have no effect.

    Attributes:
        W_q, W_k, w_v: The layers, without biases; they take their shapes from the first call.
        attention_weights: The weights of the last call, before the dropout: (batch, num_queries,
            num_keys), as values without a graph.

    Book: 11.3.4.
    """

    def __init__(self, num_hiddens: int, dropout: float, **kwargs: Any) -> None:
        super().__init__()
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_dropout(dropout)
        self.W_k = nn.LazyLinear(num_hiddens, bias=False)
        self.W_q = nn.LazyLinear(num_hiddens, bias=False)
        self.w_v = nn.LazyLinear(1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def _scores(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        # Every query with every key: (batch, num_queries, num_keys, num_hiddens).
        pairs = self.W_q(queries).unsqueeze(2) + self.W_k(keys).unsqueeze(1)
        scores: torch.Tensor = self.w_v(torch.tanh(pairs)).squeeze(-1)
        return scores


class MultiHeadAttention(Module):
    """Scaled dot-product attention in several heads, each over a part of projected features.

    Args:
        num_hiddens: The number of features of the result; a multiple of `num_heads`.
        num_heads: The number of heads.
        dropout: The probability with which each weight is set to zero in training.
        bias: Whether the projections have biases.
        **kwargs: Have no effect.

    Attributes:
        W_q, W_k, W_v, W_o: The projections of queries, keys, values and of the result; they take
            their shapes from the first call.
        attention: The `DotProductAttention`; its `attention_weights` are (batch * num_heads,
            num_queries, num_keys), the heads of an example together.

    Raises:
        ConfigError: If the heads cannot share the features evenly.

    Book: 11.5.2.
    """

    num_heads: int

    def __init__(
        self, num_hiddens: int, num_heads: int, dropout: float, bias: bool = False, **kwargs: Any
    ) -> None:
        super().__init__()
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_whole_number(num_heads, "num_heads", at_least=1)
        if num_hiddens % num_heads:
            raise ConfigError(
                f"num_hiddens={num_hiddens} is no multiple of num_heads={num_heads}: each head "
                f"takes the same share of the features."
            )
        self.num_heads = num_heads
        self.attention = DotProductAttention(dropout)
        self.W_q = nn.LazyLinear(num_hiddens, bias=bias)
        self.W_k = nn.LazyLinear(num_hiddens, bias=bias)
        self.W_v = nn.LazyLinear(num_hiddens, bias=bias)
        self.W_o = nn.LazyLinear(num_hiddens, bias=bias)

    def forward(  # type: ignore[override]
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        valid_lens: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The result of all heads for each query.

        Args:
            queries: A tensor (batch, num_queries, any number of features).
            keys: A tensor (batch, num_keys, any number of features).
            values: A tensor (batch, num_keys, any number of features).
            valid_lens: As `masked_softmax` takes them.

        Returns:
            A tensor (batch, num_queries, num_hiddens).

        Raises:
            ShapeError: If these do not fit together.
        """
        _check_attended(queries, keys, values)
        if valid_lens is not None:
            _check_lengths(valid_lens, queries, "queries")
        Q, K, V = (
            self.transpose_qkv(project(X))
            for project, X in ((self.W_q, queries), (self.W_k, keys), (self.W_v, values))
        )
        if valid_lens is not None:
            valid_lens = valid_lens.repeat_interleave(self.num_heads, dim=0)
        heads: torch.Tensor = self.attention(Q, K, V, valid_lens)
        output: torch.Tensor = self.W_o(self.transpose_output(heads))
        return output

    def transpose_qkv(self, X: torch.Tensor) -> torch.Tensor:
        """Features (batch, n, num_hiddens) as (batch * num_heads, n, num_hiddens / num_heads)."""
        return X.reshape(*X.shape[:2], self.num_heads, -1).transpose(1, 2).flatten(0, 1)

    def transpose_output(self, X: torch.Tensor) -> torch.Tensor:
        """The inverse of `transpose_qkv`."""
        return X.reshape(-1, self.num_heads, *X.shape[1:]).transpose(1, 2).flatten(2)


class PositionalEncoding(nn.Module):
    """Adds to each position sines and cosines that tell it from the others.

    In position i, feature 2j gets sin(i / 10000^(2j/d)), and feature 2j + 1 the cosine of the same.

    Args:
        num_hiddens: The number of features d.
        dropout: The probability with which each feature is set to zero in training.
        max_len: The length of the longest sequence.

    Attributes:
        P: What is added, a tensor (1, max_len, num_hiddens).

    Book: 11.6.3.
    """

    P: torch.Tensor

    def __init__(self, num_hiddens: int, dropout: float, max_len: int = 1000) -> None:
        super().__init__()
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_whole_number(max_len, "max_len", at_least=1)
        check_dropout(dropout)
        self.dropout = nn.Dropout(dropout)
        with enough_memory(self):
            periods = torch.pow(10000, torch.arange(0, num_hiddens, 2) / num_hiddens)
            angles = torch.arange(max_len)[:, None] / periods
            P = torch.empty(1, max_len, num_hiddens)
            P[:, :, 0::2] = angles.sin()
            P[:, :, 1::2] = angles.cos()[:, : num_hiddens // 2]
        # It goes where the model goes, and no file needs it.
        self.register_buffer("P", P, persistent=False)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """The sum with the encoding, for X of shape (batch, num_steps, num_hiddens).

        Raises:
            ShapeError: If the sequences are longer than `max_len`, or have another shape.
        """
        check_tensor(X, "X", "batch", "num_steps", self.P.shape[2])
        if X.shape[1] > self.P.shape[1]:
            raise ShapeError(
                f"A sequence has {X.shape[1]} positions, but this PositionalEncoding knows "
                f"{self.P.shape[1]}: make it with max_len={X.shape[1]}."
            )
        encoded: torch.Tensor = self.dropout(X + self.P[:, : X.shape[1]])
        return encoded
