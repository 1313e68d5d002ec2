"""What the commands `train` and `predict` do with a language model: they have it continue texts."""

from typing import Any

#: The beginning of the sample of text after a training, which is the book's, and its length.
BEGINNING = "it has"
LENGTH = 50


def continues_texts(model: Any, data: Any) -> bool:
    """Whether a model is one that continues texts of the data's tokens, as `RNNLM` does."""
    return callable(getattr(model, "predict", None)) and hasattr(data, "vocab")


def sample_of(model: Any, data: Any) -> str | None:
    """A text that a language model makes; None of other models, and where the tokens are others."""
    if not continues_texts(model, data):
        return None
    if any(data.vocab[token] == data.vocab.unk for token in BEGINNING):
        return None
    text: str = model.predict(BEGINNING, LENGTH, data.vocab)
    return text
