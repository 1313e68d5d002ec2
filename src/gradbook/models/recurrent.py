"""Recurrent neural networks and language models, from scratch and with PyTorch's layers.

Book: 9.5 (sec_rnn-scratch), 9.6 (sec_rnn-concise), 10.2 (sec_gru), 10.3 (sec_deep_rnn).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gradbook.checks import (
    at_rest,
    check_choice,
    check_dropout,
    check_numbers,
    check_rate,
    check_tensor,
    check_whole_number,
    enough_memory,
)
from gradbook.data import Batch
from gradbook.devices import device_of
from gradbook.errors import ConfigError, shown
from gradbook.module import Classifier, Module


class RNNScratch(Module):
    """A recurrent layer from scratch: H_t = tanh(X_t W_xh + H_(t-1) W_hh + b_h).

    Args:
        num_inputs: The number of features of each step, such as the size of a vocabulary.
        num_hiddens: The number of hidden units.
        sigma: The standard deviation of the initial weights.

    Attributes:
        W_xh, W_hh, b_h: Weights of shape (num_inputs, num_hiddens) and (num_hiddens, num_hiddens),
            and the bias (num_hiddens,).

    Book: 9.5.1.
    """

    num_hiddens: int
    sigma: float

    def __init__(self, num_inputs: int, num_hiddens: int, sigma: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_inputs, "num_inputs", at_least=1)
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_rate(sigma, "sigma")
        with enough_memory(self):
            self.W_xh = nn.Parameter(torch.randn(num_inputs, num_hiddens) * sigma)
            self.W_hh = nn.Parameter(torch.randn(num_hiddens, num_hiddens) * sigma)
            self.b_h = nn.Parameter(torch.zeros(num_hiddens))

    def forward(self, inputs: torch.Tensor, state: Any = None) -> tuple[Any, torch.Tensor]:
        """The hidden state after each step.

        Args:
            inputs: A tensor (num_steps, batch, num_inputs).
            state: The hidden state before the first step, (batch, num_hiddens), also as the only
                item of a tuple; zeros without one.

        Returns:
            The states as a list of num_steps tensors (batch, num_hiddens), and the last of them.

        Raises:
            ShapeError: If something has another shape.
        """
        check_tensor(inputs, "inputs", "num_steps", "batch", len(self.W_xh))
        if isinstance(state, tuple | list):
            (state,) = state
        if state is None:
            state = inputs.new_zeros(inputs.shape[1], self.num_hiddens)
        check_tensor(state, "state", inputs.shape[1], self.num_hiddens)
        outputs = []
        # What comes from the inputs does not wait for the states, so it is one product for all.
        for X in torch.matmul(inputs, self.W_xh) + self.b_h:
            state = torch.tanh(torch.addmm(X, state, self.W_hh))
            outputs.append(state)
        return outputs, state


class RNNLMScratch(Classifier):
    """A language model from scratch: from a recurrent layer's states, the next token's logits.

    It plots the perplexity, exp(loss).

    Args:
        rnn: The recurrent layer, of one-hot vectors (num_steps, batch, vocab_size) as inputs. It
            has attributes `num_hiddens` and `sigma`, for the initial weights.
        vocab_size: The number of tokens.
        lr: The learning rate.

    Attributes:
        W_hq, b_q: The output layer's weights (num_hiddens, vocab_size) and bias (vocab_size,).

    Book: 9.5.2.
    """

    rnn: Any
    vocab_size: int
    lr: float

    def __init__(self, rnn: Any, vocab_size: int, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(vocab_size, "vocab_size", at_least=1)
        check_rate(lr)
        self.init_params()

    def init_params(self) -> None:
        """Makes the output layer.

        Raises:
            ConfigError: If the recurrent layer does not say what it needs.
        """
        for name in ("num_hiddens", "sigma"):
            if not hasattr(self.rnn, name):
                raise ConfigError(
                    f"The recurrent layer needs an attribute {name!r}, as RNNScratch has it, but "
                    f"it is {shown(self.rnn)}. RNNLM takes any layer, also one of PyTorch."
                )
        shape = self.rnn.num_hiddens, self.vocab_size
        with enough_memory(self):
            self.W_hq = nn.Parameter(torch.randn(shape) * self.rnn.sigma)
            self.b_q = nn.Parameter(torch.zeros(self.vocab_size))

    def training_step(self, batch: Batch) -> torch.Tensor:
        """The loss of one training batch; the perplexity is drawn."""
        loss = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("ppl", torch.exp(loss), train=True)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Draws the perplexity of one validation batch."""
        loss = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("ppl", torch.exp(loss), train=False)

    def one_hot(self, X: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, num_steps) as vectors (num_steps, batch, vocab_size). Book: 9.5.2."""
        check_tensor(X, "A batch of tokens", "batch", "num_steps")
        X = X.T.long().unsqueeze(-1)
        zeros = torch.zeros(*X.shape[:2], self.vocab_size, device=X.device)
        try:
            return zeros.scatter_(2, X, 1.0)
        except RuntimeError as error:  # on the CPU, PyTorch itself looks at every token
            check_numbers(X, self.vocab_size)
            raise error

    def output_layer(self, rnn_outputs: Any) -> torch.Tensor:
        """Logits (batch, num_steps, vocab_size) of states: a list of num_steps, or a tensor."""
        states = rnn_outputs if isinstance(rnn_outputs, torch.Tensor) else torch.stack(rnn_outputs)
        return torch.matmul(states.transpose(0, 1), self.W_hq) + self.b_q

    def forward(self, X: torch.Tensor, state: Any = None) -> torch.Tensor:
        """Logits of each next token, for tokens (batch, num_steps).

        Args:
            X: An integer tensor (batch, num_steps).
            state: The recurrent layer's state before the first token.

        Returns:
            A tensor (batch, num_steps, vocab_size).
        """
        rnn_outputs, _ = self.rnn(self.one_hot(X), state)
        return self.output_layer(rnn_outputs)

    def predict(self, prefix: Sequence[str], num_preds: int, vocab: Any, device: Any = None) -> str:
        """Continues a text, each time with the token that is the most likely one.

        Args:
            prefix: The beginning, a text or a list of tokens.
            num_preds: How many tokens to add.
            vocab: The `Vocab` with which the model was trained.
            device: Where to compute; without one, where the model is.

        Returns:
            The beginning, as the vocabulary knows it, and what was added.

        Raises:
            ConfigError: If the beginning is empty, or `num_preds` is no whole number.

        Book: 9.5.5.
        """
        check_whole_number(num_preds, "num_preds", at_least=0)
        if len(prefix) == 0:
            raise ConfigError("prefix is empty: give at least one token, such as 'a'.")
        device = device_of(self) if device is None else device
        outputs: list[int] = vocab[list(prefix)]
        X, state = torch.tensor([outputs], device=device), None
        with at_rest(self):
            for _ in range(num_preds):
                rnn_outputs, state = self.rnn(self.one_hot(X), state)
                X = self.output_layer(rnn_outputs)[:, -1:].argmax(dim=-1)
                outputs.append(int(X))
        return "".join(vocab.to_tokens(outputs))


class RNN(Module):
    """PyTorch's recurrent layer.

    Args:
        num_inputs: The number of features of each step.
        num_hiddens: The number of hidden units.

    Attributes:
        rnn: The `nn.RNN`.

    Book: 9.6.1.
    """

    num_hiddens: int
    rnn: Any

    def __init__(self, num_inputs: int, num_hiddens: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_whole_number(num_inputs, "num_inputs", at_least=1)
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        with enough_memory(self):
            self.rnn = nn.RNN(num_inputs, num_hiddens)

    def forward(self, inputs: torch.Tensor, H: Any = None) -> tuple[torch.Tensor, Any]:
        """The hidden state after each step.

        Args:
            inputs: A tensor (num_steps, batch, num_inputs).
            H: The hidden state before the first step, (num_layers, batch, num_hiddens); zeros
                without one.

        Returns:
            The last layer's states (num_steps, batch, num_hiddens), and each layer's last state.
        """
        outputs: tuple[torch.Tensor, Any] = self.rnn(inputs, H)
        return outputs


class GRU(RNN):
    """PyTorch's gated recurrent units, in one or more layers.

    Args:
        num_inputs: The number of features of each step.
        num_hiddens: The number of hidden units of each layer.
        num_layers: The number of layers.
        dropout: The probability with which each output of a layer, but for the last, is set to
            zero in training.

    Attributes:
        rnn: The `nn.GRU`.

    Book: 10.2.5, 10.3.2.
    """

    num_layers: int
    dropout: float

    def __init__(
        self, num_inputs: int, num_hiddens: int, num_layers: int = 1, dropout: float = 0
    ) -> None:
        Module.__init__(self)
        self.save_hyperparameters()
        check_whole_number(num_inputs, "num_inputs", at_least=1)
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_whole_number(num_layers, "num_layers", at_least=1)
        check_dropout(dropout)
        with enough_memory(self):
            self.rnn = nn.GRU(num_inputs, num_hiddens, num_layers, dropout=dropout)


class RNNLM(RNNLMScratch):
    """A language model with PyTorch's layers.

    Args:
        rnn: The recurrent layer, such as `RNN` or `GRU`, of one-hot vectors (num_steps, batch,
            vocab_size) as inputs.
        vocab_size: The number of tokens.
        lr: The learning rate.

    Attributes:
        linear: The output layer, an `nn.Linear`.

    Book: 9.6.1.
    """

    linear: nn.Linear

    def init_params(self) -> None:
        """Makes the output layer."""
        self.linear: nn.Linear = nn.LazyLinear(self.vocab_size)

    def output_layer(self, hiddens: torch.Tensor) -> torch.Tensor:
        """Logits (batch, num_steps, vocab_size) of states (num_steps, batch, num_hiddens)."""
        logits: torch.Tensor = self.linear(hiddens.transpose(0, 1))
        return logits


#: PyTorch's recurrent layers by name, the first one the book's first.
CELLS: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentLM(RNNLM):
    """A recurrent language model in one piece: its layers are made from names and numbers.

    Args:
        cell: The kind of layer: "rnn", "gru" or "lstm".
        num_hiddens: The number of hidden units of each layer.
        num_layers: The number of layers.
        dropout: The probability with which each output of a layer, but for the last, is set to
            zero in training.
        lr: The learning rate.
        vocab_size: The number of tokens; 28 are those of `TimeMachine`.

    Attributes:
        rnn, linear: The recurrent layer, and the output layer.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 9.6 (sec_rnn-concise), 10.1 (sec_lstm), 10.2 (sec_gru), 10.3 (sec_deep_rnn).

    >>> model = RecurrentLM("lstm", num_hiddens=8, num_layers=2)
    >>> model(torch.zeros(2, 5, dtype=torch.int64)).shape
    torch.Size([2, 5, 28])
    """

    num_hiddens: int

    def __init__(
        self,
        cell: str = "rnn",
        num_hiddens: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        lr: float = 1.0,
        vocab_size: int = 28,
    ) -> None:
        Module.__init__(self)
        self.save_hyperparameters()
        check_choice(cell, "cell", list(CELLS))
        check_whole_number(num_hiddens, "num_hiddens", at_least=1)
        check_whole_number(num_layers, "num_layers", at_least=1)
        check_dropout(dropout)
        check_whole_number(vocab_size, "vocab_size", at_least=1)
        with enough_memory(self):
            self.rnn = CELLS[cell](vocab_size, num_hiddens, num_layers, dropout=dropout)
        self.init_params()

    def init_params(self) -> None:
        """Makes the output layer, at once: the layer before it is known."""
        self.linear = nn.Linear(self.num_hiddens, self.vocab_size)
