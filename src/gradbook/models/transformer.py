"""The transformer's encoder and its parts.

Book: 11.7 (sec_transformer).
"""

import math
from typing import Any

import torch
from torch import nn

from gradbook.checks import check_dropout, check_whole_number, embedded, enough_memory
from gradbook.errors import ShapeError
from gradbook.models.attention import MultiHeadAttention, PositionalEncoding
from gradbook.models.seq2seq import Encoder


class PositionWiseFFN(nn.Module):
    """The positionwise feed-forward network: one MLP for all positions, each by itself.

    Args:
        ffn_num_hiddens: The number of hidden units.
        ffn_num_outputs: The number of features of the result.

    Attributes:
        dense1, relu, dense2: The layers.

    Book: 11.7.2.
    """

    def __init__(self, ffn_num_hiddens: int, ffn_num_outputs: int) -> None:
        super().__init__()
        check_whole_number(ffn_num_hiddens, "ffn_num_hiddens", at_least=1)
        check_whole_number(ffn_num_outputs, "ffn_num_outputs", at_least=1)
        self.dense1 = nn.LazyLinear(ffn_num_hiddens)
        self.relu = nn.ReLU()
        self.dense2 = nn.LazyLinear(ffn_num_outputs)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """A tensor (batch, num_steps, ffn_num_outputs), for X of shape (batch, num_steps, d)."""
        output: torch.Tensor = self.dense2(self.relu(self.dense1(X)))
        return output


class AddNorm(nn.Module):
    """The residual connection, followed by layer normalization: LayerNorm(X + dropout(Y)).

    Args:
        norm_shape: The shape over which it normalizes: the number of features, or the sizes of
            several last axes.
        dropout: The probability with which each element of Y is set to zero in training.

    Attributes:
        ln: The `nn.LayerNorm`.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 11.7.3.
    """

    def __init__(self, norm_shape: Any, dropout: float) -> None:
        super().__init__()
        for size in norm_shape if isinstance(norm_shape, tuple | list) else [norm_shape]:
            check_whole_number(size, "norm_shape", at_least=1)
        check_dropout(dropout)
        self.dropout = nn.Dropout(dropout)
        self.ln = nn.LayerNorm(norm_shape)

    def forward(self, X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
        """The normalized sum of what went into a layer, X, and what came out of it, Y.

        Raises:
            ShapeError: If these have not the same shape, or another one than the normalization.
        """
        sizes = self.ln.normalized_shape
        if X.shape != Y.shape or X.shape[-len(sizes) :] != sizes:  # PyTorch would broadcast
            raise ShapeError(
                f"AddNorm adds tensors of one shape (..., {', '.join(map(str, sizes))}), but those "
                f"of X and Y are {tuple(X.shape)} and {tuple(Y.shape)}. norm_shape is the size "
                f"of their last axes, and a layer between them keeps the shape of X."
            )
        output: torch.Tensor = self.ln(self.dropout(Y) + X)
        return output


class TransformerEncoderBlock(nn.Module):
    """A block of the transformer's encoder: self-attention, and a positionwise network.

    Args:
        num_hiddens: The number of features of each position, which the block keeps.
        ffn_num_hiddens: The number of hidden units of the positionwise network.
        num_heads: The number of heads.
        dropout: The probability with which outputs and attention weights are set to zero in
            training.
        use_bias: Whether the projections of the attention have biases.

    Attributes:
        attention, addnorm1, ffn, addnorm2: The layers.

    Book: 11.7.4.
    """

    def __init__(
        self,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        dropout: float,
        use_bias: bool = False,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(num_hiddens, num_heads, dropout, use_bias)
        self.addnorm1 = AddNorm(num_hiddens, dropout)
        self.ffn = PositionWiseFFN(ffn_num_hiddens, num_hiddens)
        self.addnorm2 = AddNorm(num_hiddens, dropout)

    def forward(self, X: torch.Tensor, valid_lens: torch.Tensor | None) -> torch.Tensor:
        """A tensor in the shape of X, (batch, num_steps, num_hiddens).

        Args:
            X: The features of each position.
            valid_lens: How many positions of each sequence count: (batch,), or for each query
                (batch, num_steps); None for all.
        """
        Y = self.addnorm1(X, self.attention(X, X, X, valid_lens))
        output: torch.Tensor = self.addnorm2(Y, self.ffn(Y))
        return output


class TransformerEncoder(Encoder):
    """The transformer's encoder: embedded tokens with their positions, and blocks in a row.

    Args:
        vocab_size: The number of tokens.
        num_hiddens: The number of features of each position.
        ffn_num_hiddens: The number of hidden units of the positionwise networks.
        num_heads: The number of heads.
        num_blks: The number of blocks.
        dropout: The probability with which features, outputs and attention weights are set to zero
            in training.
        use_bias: Whether the projections of the attention have biases.

    Attributes:
        embedding: The `nn.Embedding`.
        pos_encoding: The `PositionalEncoding`.
        blks: The blocks, an `nn.Sequential`.
        attention_weights: Those of the last call: for each block a tensor (batch * num_heads,
            num_steps, num_steps), the heads of an example together.

    Book: 11.7.4.
    """

    attention_weights: list[torch.Tensor]

    def __init__(
        self,
        vocab_size: int,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        num_blks: int,
        dropout: float,
        use_bias: bool = False,
    ) -> None:
        super().__init__()
        check_whole_number(vocab_size, "vocab_size", at_least=1)
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_whole_number(num_blks, "num_blks", at_least=1)
        self.num_hiddens = num_hiddens
        with enough_memory(self):
            self.embedding = nn.Embedding(vocab_size, num_hiddens)
        self.pos_encoding = PositionalEncoding(num_hiddens, dropout)
        self.blks = nn.Sequential()
        for i in range(num_blks):
            block = TransformerEncoderBlock(
                num_hiddens, ffn_num_hiddens, num_heads, dropout, use_bias
            )
            self.blks.add_module(f"block{i}", block)

    def forward(self, X: torch.Tensor, valid_lens: torch.Tensor | None, *args: Any) -> torch.Tensor:
        """The features of each position, (batch, num_steps, num_hiddens).

        Args:
            X: Tokens, an integer tensor (batch, num_steps).
            valid_lens: How many tokens of each sequence count, (batch,); None for all.
            *args: Have no effect.

        Raises:
            BatchError: If a token is none of the `vocab_size`.
        """
        # The encoding lies between -1 and 1; the embedding is made as large as that.
        X = self.pos_encoding(embedded(self.embedding, X) * math.sqrt(self.num_hiddens))
        self.attention_weights = []
        block: Any
        for block in self.blks:
            X = block(X, valid_lens)
            self.attention_weights.append(block.attention.attention.attention_weights)
        return X
