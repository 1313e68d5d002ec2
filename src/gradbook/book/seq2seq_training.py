"""The functions of the book's earlier editions that train a translator and let it translate.

Book: 23.8 (sec_utils).
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.parameter import is_lazy

from gradbook.book.classic import grad_clipping
from gradbook.checks import (
    at_rest,
    check_label_range,
    check_labels,
    check_rate,
    check_tensor,
    check_text,
    check_whole_number,
    describe,
)
from gradbook.datasets.padding import valid_steps
from gradbook.datasets.text import PAD, check_holds
from gradbook.datasets.translation import BOS, EOS, truncate_pad
from gradbook.errors import DataError, ShapeError
from gradbook.models.seq2seq import init_seq2seq
from gradbook.timing import Timer


def sequence_mask(X: torch.Tensor, valid_len: torch.Tensor, value: float = 0) -> torch.Tensor:
    """A copy of sequences in which what is beyond their valid lengths has another value.

    Args:
        X: A tensor (batch, num_steps, ...).
        valid_len: How many steps of each sequence count, (batch,).
        value: What the others get.

    Raises:
        ShapeError: If there is not one valid length for each sequence.

    >>> sequence_mask(torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([1, 2]))
    tensor([[1, 0, 0],
            [4, 5, 0]])

    Book: 23.8.
    """
    if not isinstance(X, torch.Tensor) or X.dim() < 2:
        raise ShapeError(
            f"sequence_mask needs sequences (batch, num_steps, ...), but X is {describe(X)}."
        )
    check_tensor(valid_len, "valid_len", len(X))
    is_beyond = ~valid_steps(valid_len, X.shape[1])
    return X.masked_fill(is_beyond.reshape(*X.shape[:2], *[1] * (X.dim() - 2)), value)


class MaskedSoftmaxCELoss(nn.CrossEntropyLoss):
    """The cross-entropy of sequences, where what is beyond their valid lengths counts as 0.

    Arguments are those of `nn.CrossEntropyLoss`, except that `reduction` has no effect.

    >>> loss = MaskedSoftmaxCELoss()
    >>> loss(torch.ones(3, 4, 10), torch.ones(3, 4).long(), torch.tensor([4, 2, 0]))
    tensor([2.3026, 1.1513, 0.0000])

    Book: 23.8.
    """

    def forward(  # type: ignore[override]
        self, pred: torch.Tensor, label: torch.Tensor, valid_len: torch.Tensor
    ) -> torch.Tensor:
        """The sum of each sequence's losses, divided by the number of its steps with the padding.

        Args:
            pred: Logits (batch, num_steps, vocab_size).
            label: Labels (batch, num_steps), integers.
            valid_len: How many steps of each sequence count, (batch,).

        Returns:
            A tensor (batch,).

        Raises:
            BatchError: If the labels do not fit the logits.
            ShapeError: If the valid lengths do not fit the labels.
        """
        check_tensor(pred, "pred", "batch", "num_steps", "vocab_size")
        check_labels(pred, label)
        try:
            losses = F.cross_entropy(
                pred.transpose(1, 2),
                label,
                self.weight,
                ignore_index=self.ignore_index,
                reduction="none",
                label_smoothing=self.label_smoothing,
            )
        except IndexError as error:  # on the CPU, PyTorch itself looks at every label
            check_label_range(label, pred.shape[-1])
            raise error
        return sequence_mask(losses, valid_len).mean(dim=1)


def train_seq2seq(
    net: nn.Module,
    data_iter: Any,
    lr: float,
    num_epochs: int,
    tgt_vocab: Any,
    device: torch.device | str,
) -> None:
    """Trains a translator with Adam, draws its loss for each token and prints the last one.

    The weights of linear layers and GRUs begin with Xavier's uniform distribution; gradients are
    clipped to a norm of 1.

    Args:
        net: An `EncoderDecoder`, or a network that is called like one; of what it returns as a
            tuple, the first item are the logits. It is moved to the device.
        data_iter: Batches of sources, their lengths, targets and their lengths, such as those of
            `load_data_nmt`.
        lr: The learning rate.
        num_epochs: Passes over the batches.
        tgt_vocab: The vocabulary of the targets.
        device: Where to train.

    Raises:
        ConfigError: If an argument cannot be used, or the vocabulary lacks "<bos>".
        DataError: If there is no batch.

    Book: 23.8.
    """
    check_rate(lr)
    check_whole_number(num_epochs, "num_epochs", at_least=1)
    check_holds(tgt_vocab, [BOS])
    from gradbook.display.animator import Animator  # loads Matplotlib, which is slow

    def logits(X: torch.Tensor, X_len: torch.Tensor, Y: torch.Tensor) -> Any:
        bos = Y.new_full((len(Y), 1), tgt_vocab[BOS])
        output = net(X, torch.cat([bos, Y[:, :-1]], dim=1), X_len)  # teacher forcing
        return output[0] if isinstance(output, tuple) else output

    net.to(device)
    if any(is_lazy(param) for param in net.parameters()):
        with at_rest(net):
            logits(*[part.to(device) for part in next(iter(data_iter))][:3])
    net.apply(init_seq2seq)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    loss = MaskedSoftmaxCELoss()
    animator = Animator(xlabel="epoch", ylabel="loss", xlim=[1, num_epochs])
    net.train()
    for epoch in range(num_epochs):
        timer = Timer()
        sums = torch.zeros(2, device=device)  # of losses, and the number of tokens
        for batch in data_iter:
            X, X_len, Y, Y_len = (part.to(device) for part in batch)
            optimizer.zero_grad()
            value = loss(logits(X, X_len, Y), Y, Y_len).sum()
            value.backward()
            grad_clipping(net, 1)
            optimizer.step()
            with torch.no_grad():
                sums += torch.stack([value.detach(), Y_len.sum().to(value.dtype)])
        total, num_tokens = sums.tolist()
        if num_tokens == 0:
            raise DataError("There is no token to train on: data_iter gives no batch.")
        animator.add(epoch + 1, total / num_tokens)
    print(f"loss {total / num_tokens:.3f}, {num_tokens / timer.stop():.1f} tokens/sec on {device}")


def predict_seq2seq(
    net: Any,
    src_sentence: str,
    src_vocab: Any,
    tgt_vocab: Any,
    num_steps: int,
    device: torch.device | str,
    save_attention_weights: bool = False,
) -> tuple[str, list[Any]]:
    """Translates a sentence, token by token, each time with the most likely one.

    The network is in evaluation mode meanwhile, and no gradients are kept.

    Args:
        net: An `EncoderDecoder`, on the device.
        src_sentence: The sentence: words and marks, separated by spaces.
        src_vocab: The vocabulary of the sources.
        tgt_vocab: That of the targets.
        num_steps: The length of a source, and the most tokens of the translation.
        device: Where the network is.
        save_attention_weights: Whether to keep what the decoder attended to in each step.

    Returns:
        The translation, and the decoder's `attention_weights` after each step, if they were asked
        for.

    Raises:
        ConfigError: If an argument cannot be used, or a vocabulary lacks what begins, ends or fills
            up sequences.

    Book: 23.8.
    """
    check_text(src_sentence, "src_sentence")
    check_holds(src_vocab, [PAD, EOS])
    check_holds(tgt_vocab, [BOS, EOS])
    check_whole_number(num_steps, "num_steps", at_least=1)
    tokens = [*src_vocab[src_sentence.lower().split()], src_vocab[EOS]]
    valid_len = torch.tensor([min(len(tokens), num_steps)], device=device)
    source = torch.tensor([truncate_pad(tokens, num_steps, src_vocab[PAD])], device=device)
    translated: list[int] = []
    attention_weights = []
    with at_rest(net):
        state = net.decoder.init_state(net.encoder(source, valid_len), valid_len)
        token = torch.tensor([[tgt_vocab[BOS]]], device=device)
        for _ in range(num_steps):
            scores, state = net.decoder(token, state)
            token = scores.argmax(dim=2)
            if save_attention_weights:
                attention_weights.append(net.decoder.attention_weights)
            if int(token) == tgt_vocab[EOS]:
                break
            translated.append(int(token))
    return " ".join(tgt_vocab.to_tokens(translated)), attention_weights
