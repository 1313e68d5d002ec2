"""Encoders, decoders, and models that translate a sequence into another.

Book: 10.6 (sec_encoder-decoder), 10.7 (sec_seq2seq), 11.4 (sec_seq2seq_attention).
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.parameter import is_lazy

from gradbook.checks import (
    at_rest,
    check_label_range,
    check_labels,
    check_rate,
    check_text,
    check_whole_number,
    embedded,
)
from gradbook.data import Batch
from gradbook.errors import ModelError
from gradbook.models.recurrent import GRU
from gradbook.module import Classifier
from gradbook.optim import as_set


class Encoder(nn.Module):
    """The base class of encoders: from a source sequence to what a decoder makes a state of.

    A subclass defines `forward(X, *args)`.

    Book: 10.6.1.
    """

    def forward(self, X: Any, *args: Any) -> Any:
        """What is known of the source X; further arguments may be its valid lengths."""
        raise ModelError(_missing(self, "forward(self, X, *args)"))


class Decoder(nn.Module):
    """The base class of decoders: from a state and a target sequence to the next tokens' scores.

    A subclass defines `init_state(enc_all_outputs, *args)` and `forward(X, state)`.

    Book: 10.6.2.
    """

    def init_state(self, enc_all_outputs: Any, *args: Any) -> Any:
        """The state before the first token, from what the encoder returned."""
        raise ModelError(_missing(self, "init_state(self, enc_all_outputs, *args)"))

    def forward(self, X: Any, state: Any) -> Any:
        """Scores (batch, num_steps, vocab_size) for X (batch, num_steps), and the state after."""
        raise ModelError(_missing(self, "forward(self, X, state)"))


class AttentionDecoder(Decoder):
    """The base class of decoders with attention, which tell what they attended to.

    A subclass defines the property `attention_weights`, too.

    Book: 11.4.2.
    """

    @property
    def attention_weights(self) -> Any:
        """The attention weights of the last call."""
        raise ModelError(_missing(self, "attention_weights(self)", "property"))


def _missing(part: nn.Module, method: str, kind: str = "method") -> str:
    return f"{type(part).__name__} lacks the {kind} {method}: write it in your class."


class EncoderDecoder(Classifier):
    """The base class of models that are an encoder and a decoder.

    Args:
        encoder: Called with the source, and with what else a batch has, as valid lengths.
        decoder: Makes a state of that, and scores of the target sequence and the state.

    Book: 10.6.3.
    """

    encoder: Any
    decoder: Any

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(  # type: ignore[override]
        self, enc_X: Any, dec_X: Any, *args: Any
    ) -> Any:
        """The scores of the next tokens, (batch, num_steps, vocab_size).

        Args:
            enc_X: The source, (batch, num_steps).
            dec_X: The target, of which each position predicts the next token, likewise.
            *args: What encoder and decoder get besides, such as the valid lengths of the source.
        """
        state = self.decoder.init_state(self.encoder(enc_X, *args), *args)
        return self.decoder(dec_X, state)[0]

    def predict_step(
        self,
        batch: Sequence[torch.Tensor],
        device: Any,
        num_steps: int,
        save_attention_weights: bool = False,
    ) -> tuple[torch.Tensor, list[Any]]:
        """Translates, token by token, each time with the most likely one.

        The model is in evaluation mode meanwhile, and no gradients are kept.

        Args:
            batch: Sources (batch, num_steps), targets, of which only the first token is used,
                valid lengths of the sources (batch,), and labels, which are not used.
            device: Where the model is.
            num_steps: How many tokens to predict.
            save_attention_weights: Whether to keep what the decoder attended to in each step.

        Returns:
            The tokens, an int64 tensor (batch, num_steps), and the decoder's `attention_weights`
            after each step, if they were asked for.

        Book: 10.7.6.
        """
        check_whole_number(num_steps, "num_steps", at_least=1)
        src, tgt, src_valid_len, *_ = (part.to(device) for part in batch)
        attention_weights: list[Any] = []
        with at_rest(self):
            state = self.decoder.init_state(self.encoder(src, src_valid_len), src_valid_len)
            tokens = [tgt[:, :1]]
            for _ in range(num_steps):
                scores, state = self.decoder(tokens[-1], state)
                tokens.append(scores.argmax(dim=2))
                if save_attention_weights:
                    attention_weights.append(self.decoder.attention_weights)
        return torch.cat(tokens[1:], dim=1), attention_weights


def init_seq2seq(module: nn.Module) -> None:
    """Initializes the weights of a linear layer or of an `nn.GRU` as Xavier does; no other layer's.

    Give it to `nn.Module.apply`. A layer that has no shape yet is left as it is. Book: 10.7.2.
    """
    if type(module) in (nn.Linear, nn.GRU):
        for name, param in module.named_parameters(recurse=False):
            if "weight" in name and not is_lazy(param):
                nn.init.xavier_uniform_(param)


class Seq2SeqEncoder(Encoder):
    """An encoder of embedded tokens and gated recurrent units.

    Args:
        vocab_size: The number of tokens.
        embed_size: The number of features of each token.
        num_hiddens: The number of hidden units of each layer.
        num_layers: The number of layers.
        dropout: The probability with which each output of a layer, but for the last, is set to
            zero in training.

    Attributes:
        embedding: The `nn.Embedding`.
        rnn: The `GRU`.

    Book: 10.7.2.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int,
        num_hiddens: int,
        num_layers: int,
        dropout: float = 0,
    ) -> None:
        super().__init__()
        check_whole_number(vocab_size, "vocab_size", at_least=1)
        check_whole_number(embed_size, "embed_size", at_least=1)
        self.embedding = nn.Embedding(vocab_size, embed_size)
        self.rnn = GRU(embed_size, num_hiddens, num_layers, dropout)
        self.apply(init_seq2seq)

    def forward(self, X: torch.Tensor, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states of the source.

        Args:
            X: Tokens (batch, num_steps), of any dtype.
            *args: Have no effect: padding is encoded, too.

        Returns:
            The last layer's states (num_steps, batch, num_hiddens), and each layer's last state
            (num_layers, batch, num_hiddens).

        Raises:
            BatchError: If a token is none of the `vocab_size`.
        """
        states: tuple[torch.Tensor, torch.Tensor] = self.rnn(embedded(self.embedding, X.T.long()))
        return states


class Seq2Seq(EncoderDecoder):
    """A model that translates a sequence into another; padding does not count in its loss.

    It is optimized with Adam, unless the trainer's settings name another optimizer.

    Args:
        encoder: The encoder, such as a `Seq2SeqEncoder`.
        decoder: The decoder.
        tgt_pad: The number of the token that pads the targets.
        lr: The learning rate.

    Book: 10.7.4.
    """

    tgt_pad: int
    lr: float

    def __init__(self, encoder: nn.Module, decoder: nn.Module, tgt_pad: int, lr: float) -> None:
        super().__init__(encoder, decoder)
        self.save_hyperparameters()
        check_whole_number(tgt_pad, "tgt_pad", at_least=0)
        check_rate(lr)

    def validation_step(self, batch: Batch) -> None:
        """Draws the loss of one validation batch."""
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)

    def loss_weight(self, batch: Any) -> torch.Tensor:
        """The number of labels that are no padding: over so many, `loss` is the mean."""
        number: torch.Tensor = (batch[-1] != self.tgt_pad).sum()
        return number

    def loss(self, Y_hat: torch.Tensor, Y: torch.Tensor, averaged: bool = True) -> torch.Tensor:
        """The cross-entropy of logits, over the labels that are no padding.

        Args:
            Y_hat: Logits (batch, num_steps, vocab_size).
            Y: Labels (batch, num_steps), integers.
            averaged: Whether to give the mean; otherwise the loss of each label, that of padding 0.

        Returns:
            A tensor: of one element if averaged, else of shape (batch * num_steps,).

        Raises:
            BatchError: If the labels do not fit the logits.

        Book: 10.7.5.
        """
        check_labels(Y_hat, Y)
        reduction = "mean" if averaged else "none"
        logits, labels = Y_hat.reshape(-1, Y_hat.shape[-1]), Y.reshape(-1).long()
        try:
            return F.cross_entropy(logits, labels, ignore_index=self.tgt_pad, reduction=reduction)
        except IndexError as error:  # on the CPU, PyTorch itself looks at every label
            check_label_range(Y, Y_hat.shape[-1])
            raise error

    def ignored_labels(self) -> set[int]:
        """The labels that do not count in the accuracy: padding, too."""
        return {*super().ignored_labels(), self.tgt_pad}

    def configure_optimizers(self) -> Any:
        """Adam with the learning rate `self.lr`, or what the trainer's settings name."""
        trainer = self.trainer if hasattr(self, "trainer") else None
        return as_set(list(self.parameters()), self.lr, trainer, default="adam")


def bleu(pred_seq: str, label_seq: str, k: int) -> float:
    """How much of a translation is in the right one, too: from 0, nothing, to 1, all of it.

    It is exp(min(0, 1 - len_label / len_pred)) times the product of p_n^(1/2^n) over n from 1 to k,
    where p_n is the fraction of the prediction's n-grams that are in the label, too.

    Args:
        pred_seq: The translation, its tokens separated by spaces.
        label_seq: The right translation, likewise.
        k: The length of the longest n-grams; those longer than the translation are left out.

    Returns:
        0 if there is no translation.

    Raises:
        ConfigError: If these are no texts, or `k` is not at least 1.

    >>> bleu("il est calme .", "il est calme .", k=2)
    1.0
    >>> round(bleu("A B B C D", "A B C D E F", k=2), 3)
    0.681

    Book: 10.7.7.
    """
    check_text(pred_seq, "pred_seq")
    check_text(label_seq, "label_seq")
    check_whole_number(k, "k", at_least=1)
    pred, label = pred_seq.split(), label_seq.split()
    if not pred:
        return 0.0
    score = math.exp(min(0, 1 - len(label) / len(pred)))
    for n in range(1, min(k, len(pred)) + 1):
        matches = (_n_grams(pred, n) & _n_grams(label, n)).total()
        score *= (matches / (len(pred) - n + 1)) ** 0.5**n
    return score


def _n_grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each sequence of n tokens occurs."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
