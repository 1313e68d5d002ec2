import pytest
import torch

from gradbook.datasets import wikitext
from gradbook.datasets.wikitext import load_data_wiki
from gradbook.errors import DataError, SampleDataWarning

TEXT = " \n = Title = \n \n" + "".join(
    f" The {k} cat sat . It was the {k} one . So it slept on . It went \n A line\n"
    for k in ("red", "blue", "old", "big") * 20
)


@pytest.fixture
def made(monkeypatch, folder):
    """A text in the place of WikiText-2's; gives what sets it and reads all examples."""

    def use(max_len, text=TEXT):
        (folder / "wiki.train.tokens").write_text(text, encoding="utf-8")
        monkeypatch.setattr(wikitext, "download_extract", lambda name, folder_: str(folder))
        loader, vocab = load_data_wiki(10_000, max_len)
        (batch,) = loader
        return batch, vocab

    return use


def test_the_shapes_and_dtypes_are_those_of_the_book(made):
    batch, vocab = made(20)
    n, k = len(batch[0]), 3
    shapes = [tuple(part.shape) for part in batch]
    assert shapes == [(n, 20), (n, 20), (n,), (n, k), (n, k), (n, k), (n,)]
    whole, real = torch.int64, torch.float32
    assert [part.dtype for part in batch] == [whole, whole, real, whole, real, whole, whole]
    assert {"<pad>", "<mask>", "<cls>", "<sep>", "<unk>", "cat"} <= set(vocab.idx_to_token)
    assert "The" not in vocab.idx_to_token  # small letters


def test_an_example_is_two_sentences_between_marks(made):
    (tokens, segments, lens, positions, weights, labels, _), vocab = made(20)
    for row in range(len(tokens)):
        length, k = int(lens[row]), int(weights[row].sum())
        sentence = tokens[row].clone()
        sentence[positions[row, :k]] = labels[row, :k]  # as before it was masked
        words = vocab.to_tokens(sentence[:length])
        assert words[0] == "<cls>"
        assert words[-1] == "<sep>"
        second = words.index("<sep>") + 1
        assert words.count("<sep>") == 2
        assert segments[row].tolist() == [0] * second + [1] * (length - second) + [0] * (
            20 - length
        )
        assert (tokens[row, length:] == vocab["<pad>"]).all()
        assert "<pad>" not in words
        assert "<mask>" not in words


def test_about_half_of_the_second_sentences_follow(made):
    (*_, is_next), _ = made(30, TEXT * 5)
    assert abs(is_next.float().mean() - 0.5) < 0.06  # 1,200 examples: four standard deviations


def test_every_seventh_word_is_predicted_and_never_a_mark(made):
    (_, _, lens, positions, weights, labels, _), vocab = made(20)
    expected = (lens * 0.15).round().clamp(min=1)
    assert torch.equal(weights.sum(1), expected)
    marks = torch.tensor(vocab[["<cls>", "<sep>", "<pad>"]])
    chosen = weights == 1
    assert not torch.isin(labels[chosen], marks).any()
    assert (positions[~chosen] == 0).all()
    for row, k in zip(positions, expected.int().tolist(), strict=True):
        kept = row[:k]
        assert torch.equal(kept, kept.unique())  # in order, and each once


def test_of_the_predicted_words_four_fifths_are_masked_and_a_tenth_is_kept(made):
    (tokens, _, _, positions, weights, labels, _), vocab = made(30, TEXT * 20)
    chosen = weights == 1
    shown = tokens.gather(1, positions)[chosen]
    n = len(shown)
    assert n > 5000
    assert abs((shown == vocab["<mask>"]).float().mean() - 0.8) < 0.03
    # Kept, or drawn by chance as what it was.
    assert abs((shown == labels[chosen]).float().mean() - (0.1 + 0.1 / len(vocab))) < 0.03


def test_a_pair_that_is_too_long_is_left_out(made):
    (_, _, lens, *_), _ = made(13)
    assert lens.max() <= 13
    with pytest.raises(DataError, match="max_len=6"):
        made(6)


@pytest.mark.slow
def test_the_stand_in_is_said_to_be_one():
    with pytest.warns(SampleDataWarning, match="Jane Austen"):
        loader, vocab = load_data_wiki(512, 64)
    assert len(loader.tensors[0]) > 2000
    assert len(vocab) > 1000
