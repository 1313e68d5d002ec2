"""A small BERT that was not pretrained: it stands in for the book's bert.small.

Its embeddings of tokens are the made vectors of `word_vectors`, so that it begins with an idea of
which words are alike; all else is drawn.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from gradbook.datasets.makers.word_vectors import word_vectors
from gradbook.datasets.stand_ins import write_zip
from gradbook.datasets.text import PAD, Vocab
from gradbook.datasets.wikitext import CLS, MASK, SEP

#: Of the original, from which only the number of tokens differs.
NUM_HIDDENS, FFN_NUM_HIDDENS, NUM_BLKS, MAX_LEN = 256, 512, 2, 512
#: The made vectors are about so long; those of an embedding that is drawn, the root of its width.
_SCALE = NUM_HIDDENS**0.5 / 2
#: Positions are drawn this much smaller, so that the words are told apart first.
_POSITIONS_SCALE = 0.1


def write_bert_small(path: Path) -> None:
    """Writes an archive of parameters and vocabulary in the form of the book's bert.small."""
    words, vectors = word_vectors(NUM_HIDDENS)
    vocab = Vocab([*words, *".,"], reserved_tokens=[PAD, MASK, CLS, SEP])
    generator = np.random.RandomState(0)
    embedding = generator.standard_normal((len(vocab), NUM_HIDDENS))
    embedding[vocab[words]] = vectors * _SCALE
    parameters = {
        "encoder.pos_embedding": _POSITIONS_SCALE
        * generator.standard_normal((1, MAX_LEN, NUM_HIDDENS)),
        "encoder.token_embedding.weight": embedding,
        "encoder.segment_embedding.weight": generator.standard_normal((2, NUM_HIDDENS)),
    }
    for name, num_inputs, num_outputs in _linear_layers(len(vocab)):
        bound = num_inputs**-0.5
        shape = (num_outputs, num_inputs)
        parameters[f"{name}.weight"] = generator.uniform(-bound, bound, shape)
        parameters[f"{name}.bias"] = np.zeros(num_outputs)
    norms = [f"encoder.blks.{i}.addnorm{k}.ln" for i in range(NUM_BLKS) for k in (1, 2)]
    for name in [*norms, "mlm.mlp.2"]:
        parameters[f"{name}.weight"] = np.ones(NUM_HIDDENS)
        parameters[f"{name}.bias"] = np.zeros(NUM_HIDDENS)
    file = io.BytesIO()
    torch.save({name: torch.tensor(p).float() for name, p in parameters.items()}, file)
    write_zip(
        path,
        [
            ("bert.small.torch/vocab.json", json.dumps(vocab.idx_to_token).encode()),
            ("bert.small.torch/pretrained.params", file.getvalue()),
        ],
    )


def _linear_layers(vocab_size: int) -> Iterator[tuple[str, int, int]]:
    """The names of BERT's linear layers, with their inputs and outputs."""
    for i in range(NUM_BLKS):
        for part in "qkvo":
            yield f"encoder.blks.{i}.attention.W_{part}", NUM_HIDDENS, NUM_HIDDENS
        yield f"encoder.blks.{i}.ffn.dense1", NUM_HIDDENS, FFN_NUM_HIDDENS
        yield f"encoder.blks.{i}.ffn.dense2", FFN_NUM_HIDDENS, NUM_HIDDENS
    yield "hidden.0", NUM_HIDDENS, NUM_HIDDENS
    yield "mlm.mlp.0", NUM_HIDDENS, NUM_HIDDENS
    yield "mlm.mlp.3", NUM_HIDDENS, vocab_size
    yield "nsp.output", NUM_HIDDENS, 2
