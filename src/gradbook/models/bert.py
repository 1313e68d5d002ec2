"""BERT: an encoder of a transformer that is trained on words that are masked.

Book: 15.8 (sec_bert).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gradbook.checks import check_tensor, check_tokens, check_whole_number, embedded
from gradbook.errors import ShapeError
from gradbook.models.transformer import TransformerEncoderBlock


def get_tokens_and_segments(
    tokens_a: Sequence[str], tokens_b: Sequence[str] | None = None
) -> tuple[list[str], list[int]]:
    """One sentence or two as BERT reads them, with the number of each token's sentence.

    Args:
        tokens_a: The tokens of the first sentence.
        tokens_b: The tokens of the second, if there is one.

    Raises:
        ConfigError: If a sentence is one text, of which each character would be a token.

    >>> get_tokens_and_segments(["it", "rains"], ["so"])
    (['<cls>', 'it', 'rains', '<sep>', 'so', '<sep>'], [0, 0, 0, 0, 1, 1])

    Book: 15.8.4.
    """
    check_tokens(tokens_a, "tokens_a")
    if tokens_b is not None:
        check_tokens(tokens_b, "tokens_b")
    tokens = ["<cls>", *tokens_a, "<sep>"]
    segments = [0] * len(tokens)
    if tokens_b is not None:
        tokens += [*tokens_b, "<sep>"]
        segments += [1] * (len(tokens_b) + 1)
    return tokens, segments


_SEGMENTS = "Tokens of the first sentence have 0, and those of the second 1."


class BERTEncoder(nn.Module):
    """The encoder of BERT: embeddings of tokens, segments and positions, then blocks.

    Args:
        vocab_size: The number of tokens.
        num_hiddens: The number of features of each position.
        ffn_num_hiddens: The number of hidden units of the positionwise networks.
        num_heads: The number of heads, a divisor of `num_hiddens`.
        num_blks: The number of blocks.
        dropout: The probability with which a unit is set to zero in training.
        max_len: The length of the longest sequence.
        **kwargs: Have no effect; taken because the book's code may give some.

    Attributes:
        token_embedding, segment_embedding: Embeddings of `vocab_size` tokens and of 2 segments.
        pos_embedding: What is learned for each position, a parameter (1, max_len, num_hiddens).
        blks: The blocks.

    Book: 15.8.4.
    """

    def __init__(
        self,
        vocab_size: int,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        num_blks: int,
        dropout: float,
        max_len: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        check_whole_number(vocab_size, "vocab_size", at_least=1)
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_whole_number(num_blks, "num_blks", at_least=1)
        check_whole_number(max_len, "max_len", at_least=1)
        self.token_embedding = nn.Embedding(vocab_size, num_hiddens)
        self.segment_embedding = nn.Embedding(2, num_hiddens)
        self.blks = nn.Sequential(
            *(
                TransformerEncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout, True)
                for _ in range(num_blks)
            )
        )
        self.pos_embedding = nn.Parameter(torch.randn(1, max_len, num_hiddens))

    def forward(
        self,
        tokens: torch.Tensor,
        segments: torch.Tensor,
        valid_lens: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The representation of each token: float32 (batch, num_steps, num_hiddens).

        Args:
            tokens: Token numbers, int64 (batch, num_steps).
            segments: The segment of each token, 0 or 1, int64 (batch, num_steps).
            valid_lens: How many tokens of each sequence are no padding, (batch,); None for all.

        Raises:
            ShapeError: If a sequence is longer than `max_len`, or the segments have another shape.
            BatchError: If a token is none of the `vocab_size`, or a segment neither 0 nor 1.
        """
        check_tensor(tokens, "tokens", "batch", "num_steps")
        check_tensor(segments, "segments", *tokens.shape)
        num_steps, max_len = tokens.shape[1], self.pos_embedding.shape[1]
        if num_steps > max_len:
            raise ShapeError(
                f"The sequences have {num_steps} tokens, but this encoder has positions for "
                f"max_len={max_len}. Cut them, or make the encoder with a larger max_len."
            )
        of_segments = embedded(self.segment_embedding, segments, "segments", _SEGMENTS)
        X = embedded(self.token_embedding, tokens) + of_segments + self.pos_embedding[:, :num_steps]
        for blk in self.blks:
            X = blk(X, valid_lens)
        return X


class MaskLM(nn.Module):
    """Predicts the tokens at given positions from the representations of BERT.

    Args:
        vocab_size: The number of tokens.
        num_hiddens: The number of hidden units.
        **kwargs: Have no effect.

    Attributes:
        mlp: A hidden layer with ReLU and layer normalization, and one score for each token.

    Book: 15.8.5.
    """

    def __init__(self, vocab_size: int, num_hiddens: int, **kwargs: Any) -> None:
        super().__init__()
        check_whole_number(vocab_size, "vocab_size", at_least=1)
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        self.mlp = nn.Sequential(
            nn.LazyLinear(num_hiddens),
            nn.ReLU(),
            nn.LayerNorm(num_hiddens),
            nn.LazyLinear(vocab_size),
        )

    def forward(self, X: torch.Tensor, pred_positions: torch.Tensor) -> torch.Tensor:
        """Scores of all tokens: float32 (batch, k, vocab_size).

        Args:
            X: The representations, (batch, num_steps, num_features).
            pred_positions: The positions to predict, int64 (batch, k).

        Raises:
            ShapeError: If there are not positions for each sequence.
        """
        check_tensor(X, "X", "batch", "num_steps", "num_features")
        check_tensor(pred_positions, "pred_positions", len(X), "k")
        index = pred_positions.unsqueeze(-1).expand(-1, -1, X.shape[-1])
        out: torch.Tensor = self.mlp(X.gather(1, index))
        return out


class NextSentencePred(nn.Module):
    """Predicts whether the second sentence follows the first.

    Args:
        **kwargs: Have no effect.

    Attributes:
        output: The linear layer; the second score is for "it follows".

    Book: 15.8.5.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.output = nn.LazyLinear(2)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """The scores (batch, 2) of the representations (batch, num_features)."""
        out: torch.Tensor = self.output(X)
        return out


class BERTModel(nn.Module):
    """BERT, with what it is pretrained by: predicting masked tokens, and the next sentence.

    Args:
        vocab_size: The number of tokens.
        num_hiddens: The number of features of each position.
        ffn_num_hiddens: The number of hidden units of the positionwise networks.
        num_heads: The number of heads, a divisor of `num_hiddens`.
        num_blks: The number of blocks.
        dropout: The probability with which a unit is set to zero in training.
        max_len: The length of the longest sequence.

    Attributes:
        encoder: The `BERTEncoder`.
        hidden: The layer with tanh that the prediction of the next sentence goes through.
        mlm: The `MaskLM`.
        nsp: The `NextSentencePred`.

    Book: 15.8.6.
    """

    def __init__(
        self,
        vocab_size: int,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        num_blks: int,
        dropout: float,
        max_len: int = 1000,
    ) -> None:
        super().__init__()
        self.encoder = BERTEncoder(
            vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len
        )
        self.hidden = nn.Sequential(nn.LazyLinear(num_hiddens), nn.Tanh())
        self.mlm = MaskLM(vocab_size, num_hiddens)
        self.nsp = NextSentencePred()

    def forward(
        self,
        tokens: torch.Tensor,
        segments: torch.Tensor,
        valid_lens: torch.Tensor | None = None,
        pred_positions: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """The representations, the scores of masked tokens, and those of the next sentence.

        Args:
            tokens: Token numbers, int64 (batch, num_steps).
            segments: The segment of each token, 0 or 1, int64 (batch, num_steps).
            valid_lens: How many tokens of each sequence are no padding, (batch,); None for all.
            pred_positions: The positions to predict, int64 (batch, k); None for no such prediction.

        Returns:
            Float32 tensors (batch, num_steps, num_hiddens), (batch, k, vocab_size) and (batch, 2);
            the second is None without positions.
        """
        encoded_X = self.encoder(tokens, segments, valid_lens)
        mlm_Y_hat = None if pred_positions is None else self.mlm(encoded_X, pred_positions)
        nsp_Y_hat = self.nsp(self.hidden(encoded_X[:, 0]))  # that of "<cls>"
        return encoded_X, mlm_Y_hat, nsp_Y_hat
