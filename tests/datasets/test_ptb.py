from collections import Counter

import pytest
import torch
from torch import nn

from gradbook.datasets import ptb
from gradbook.datasets.ptb import (
    RandomGenerator,
    batchify,
    get_centers_and_contexts,
    get_negatives,
    load_data_ptb,
    read_ptb,
    subsample,
)
from gradbook.datasets.text import Vocab
from gradbook.errors import ConfigError, DataError, SampleDataWarning


@pytest.fixture
def made(monkeypatch, folder):
    """A text in the place of Penn Treebank's; gives what sets its lines."""

    def use(lines):
        (folder / "ptb.train.txt").write_text("\n".join(lines))
        monkeypatch.setattr(ptb, "download_extract", lambda name: str(folder))

    return use


def test_the_sentences_are_the_lines(made):
    made([" the cat sat ", " on <unk> ", ""])
    assert read_ptb() == [["the", "cat", "sat"], ["on", "<unk>"], []]


def test_unknown_words_are_left_out_and_not_counted():
    vocab = Vocab([["rare"] + ["a"] * 3 + ["b"] * 3], min_freq=2)
    subsampled, counter = subsample([["a", "rare", "<unk>"], [], ["b"]], vocab)
    assert counter == {"a": 1, "b": 1}
    assert {token for line in subsampled for token in line} <= {"a", "b"}
    assert len(subsampled) == 3


def test_rare_words_are_kept_and_frequent_ones_at_the_books_rate():
    sentences = [["often"] * 3000 + ["else"] * 7000, [f"w{i}" for i in range(5)]]
    subsampled, counter = subsample(sentences, Vocab(sentences))
    after = Counter(token for line in subsampled for token in line)
    assert counter["often"] == 3000
    assert subsampled[1] == sentences[1]
    expected = 3000 * (1e-4 / (3000 / 10_005)) ** 0.5  # 55, with a standard deviation of 7
    assert abs(after["often"] - expected) < 30


def test_contexts_are_the_neighbors_within_a_window_of_one():
    centers, contexts = get_centers_and_contexts([[0, 1, 2], [3], [4, 5]], 1)
    assert centers == [0, 1, 2, 4, 5]
    assert contexts == [[1], [0, 2], [1], [5], [4]]


def test_windows_of_all_sizes_are_drawn_equally_often():
    _, contexts = get_centers_and_contexts([list(range(3000))], 3)
    sizes = Counter(len(context) for context in contexts[3:-3])
    assert set(sizes) == {2, 4, 6}
    assert all(abs(count - 998) < 110 for count in sizes.values())  # four standard deviations


def test_a_window_has_at_least_one_word():
    with pytest.raises(ConfigError, match="max_window_size"):
        get_centers_and_contexts([[0, 1]], 0)


def test_numbers_are_drawn_as_often_as_their_weights_say():
    generator = RandomGenerator([2, 3, 0, 5])
    drawn = Counter(generator.draw() for _ in range(20_000))
    assert set(drawn) == {1, 2, 4}
    for number, weight in ((1, 0.2), (2, 0.3), (4, 0.5)):
        assert abs(drawn[number] / 20_000 - weight) < 0.015  # four standard deviations


def test_the_same_seed_draws_the_same_numbers():
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append([RandomGenerator([1, 2, 3]).draw() for _ in range(10)])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [float("nan")], [float("inf")]])
def test_weights_that_cannot_be_drawn_from_are_refused(weights):
    with pytest.raises(ConfigError, match="sampling_weights"):
        RandomGenerator(weights)


def test_noise_words_are_none_of_the_context_and_never_unknown():
    vocab = Vocab(list("abcde"))
    counter = Counter("aaabbcde")
    contexts = [[1, 2], [3], [4, 5, 1, 2]] * 50
    negatives = get_negatives(contexts, vocab, counter, 5)
    assert [len(noise) for noise in negatives] == [5 * len(context) for context in contexts]
    assert all(
        set(noise).isdisjoint(context) for noise, context in zip(negatives, contexts, strict=True)
    )
    assert all(1 <= word <= 5 for noise in negatives for word in noise)


def test_noise_words_are_as_frequent_as_the_power_of_their_counts():
    vocab, counter = Vocab(["a", "b", "c"]), Counter({"a": 16, "b": 1, "c": 1})
    drawn = Counter(noise[0] for noise in get_negatives([[3]] * 2000, vocab, counter, 1))
    assert set(drawn) == {1, 2}
    assert abs(drawn[1] / 2000 - 8 / 9) < 0.03  # 16 ** 0.75 is 8


def test_a_context_of_all_words_leaves_no_noise():
    vocab, counter = Vocab(["a", "b", "c"]), Counter({"a": 1, "b": 1})
    with pytest.raises(DataError, match="No noise word is left"):
        get_negatives([[1, 2]], vocab, counter, 2)


def test_a_minibatch_needs_an_example():
    with pytest.raises(DataError, match="at least one example"):
        batchify([])


def test_the_loader_gives_what_batchify_makes(monkeypatch, made):
    monkeypatch.setattr(ptb, "THRESHOLD", 1.0)  # all of these few words are frequent
    made([" ".join("abcdefgh"), "a b c"] * 30)
    data_iter, vocab = load_data_ptb(16, 2, 3)
    assert len(vocab) == 9
    num_centers = 0
    for centers, words, masks, labels in data_iter:
        num_centers += len(centers)
        assert centers.shape == (len(centers), 1)
        assert {part.dtype for part in (centers, words, masks, labels)} == {torch.int64}
        assert masks.sum(1).max() == words.shape[1]  # no column of padding alone
        assert torch.equal(masks.sum(1), 4 * labels.sum(1))  # a context word, three of noise
        assert not words[masks == 0].any()
        for row, label, mask in zip(words, labels, masks, strict=True):
            noise = row[(mask == 1) & (label == 0)]
            assert not torch.isin(noise, row[label == 1]).any()
    assert num_centers > 100


@pytest.mark.slow
def test_the_stand_in_is_said_to_be_one():
    with pytest.warns(SampleDataWarning, match="Jane Austen"):
        sentences = read_ptb()
    assert len(sentences) > 10_000


@pytest.mark.slow
def test_word2vec_puts_words_together_that_stand_together(monkeypatch, made):
    """Of section 15.4, small: the words of three topics, one topic in each sentence."""
    topics = [[f"{topic}{i}" for i in range(12)] for topic in "abc"]
    rows = torch.randint(12, (1500, 8)).tolist()
    made([" ".join(topics[i % 3][k] for k in row) for i, row in enumerate(rows)])
    monkeypatch.setattr(ptb, "THRESHOLD", 1.0)  # all of these few words are frequent
    data_iter, vocab = load_data_ptb(256, 3, 4)
    center, context = (nn.Embedding(len(vocab), 16) for _ in range(2))
    optimizer = torch.optim.Adam([center.weight, context.weight], lr=0.02)
    for _ in range(3):
        for centers, words, mask, label in data_iter:
            scores = torch.bmm(center(centers), context(words).transpose(1, 2)).squeeze(1)
            loss = nn.functional.binary_cross_entropy_with_logits(scores, label.float(), mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    W = nn.functional.normalize(center.weight.detach()[1:], dim=1)
    nearest = (W @ W.T - 2 * torch.eye(len(W))).argmax(1)
    names = vocab.idx_to_token[1:]
    right = sum(names[i][0] == names[j][0] for i, j in enumerate(nearest.tolist()))
    assert right >= 0.9 * len(names)
