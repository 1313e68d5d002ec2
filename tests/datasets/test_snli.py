import pytest
import torch
from torch import nn

from gradbook.datasets.makers import inference_pairs
from gradbook.datasets.snli import SNLIDataset, load_data_snli, read_snli
from gradbook.errors import DataError, SampleDataWarning

HEAD = "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\n"
ROWS = (
    "neutral\t( ( A  man ) ( sleeps . ) )\t( He ( is old ) )\tx\n"
    "-\t( A ( b c ) )\t( d e )\tx\n"
    "entailment\t( ( A cat ) sits )\t( Cats ( do sit ) )\tx\n"
    "contradiction\t( One )\t( None )\tx\n"
)


@pytest.fixture
def few(monkeypatch):
    """Few pairs in the stand-in."""
    monkeypatch.setattr(inference_pairs, "NUM_TRAIN", 60)
    monkeypatch.setattr(inference_pairs, "NUM_TEST", 30)


def test_parses_become_sentences_and_pairs_without_a_label_are_left_out(folder):
    (folder / "snli_1.0_test.txt").write_text(HEAD + ROWS)
    premises, hypotheses, labels = read_snli(folder, is_train=False)
    assert premises == ["A man sleeps .", "A cat sits", "One"]
    assert hypotheses == ["He is old", "Cats do sit", "None"]
    assert labels == [2, 0, 1]


def test_a_folder_without_the_file_is_named(folder):
    with pytest.raises(DataError, match=r"snli_1\.0_train\.txt"):
        read_snli(folder, True)


def test_a_damaged_line_is_shown(folder):
    (folder / "snli_1.0_train.txt").write_text(HEAD + "neutral\tA man\n")
    with pytest.raises(DataError, match="damaged"):
        read_snli(folder, True)


def test_a_data_set_is_padded_with_its_own_vocabulary_or_a_given_one(capsys):
    pairs = (["a b"] * 5, ["b c d"] * 5, [0, 1, 2, 0, 1])
    train = SNLIDataset(pairs, 2)
    assert capsys.readouterr().out == "read 5 examples\n"
    assert len(train) == 5
    (premise, hypothesis), label = train[1]
    assert train.vocab.to_tokens(premise) == ["a", "b"]
    assert train.vocab.to_tokens(hypothesis) == ["b", "c"]
    assert label == 1
    test = SNLIDataset((["a x"], ["a"], [2]), 3, train.vocab)
    assert test.vocab is train.vocab
    assert test.vocab.to_tokens(test.premises[0]) == ["a", "<unk>", "<pad>"]


def test_batches_are_pairs_of_inputs_and_labels(few):
    with pytest.warns(SampleDataWarning, match="made by rules"):
        train_iter, test_iter, _ = load_data_snli(16, 20)
    X, y = next(iter(train_iter))
    assert [tuple(part.shape) for part in X] == [(16, 20), (16, 20)]
    assert y.shape == (16,)
    labels = torch.cat([y for _, y in test_iter])
    first = [int(label) for label in labels[:3]]
    assert first == [0, 1, 2]  # the test set stays in the order of the file


@pytest.mark.slow
def test_the_relation_is_told_by_both_sentences_and_hardly_by_the_hypothesis_alone(monkeypatch):
    """Of section 16.5, small: words are compared with those that they attend to."""
    monkeypatch.setattr(inference_pairs, "NUM_TRAIN", 4500)
    monkeypatch.setattr(inference_pairs, "NUM_TEST", 900)
    with pytest.warns(SampleDataWarning):
        train_iter, test_iter, vocab = load_data_snli(64, 20)
    accuracies = []
    for parts in ((1,), (0, 1)):
        torch.manual_seed(0)
        net = Compared(len(vocab), parts)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(5):
            for X, y in train_iter:
                loss = nn.functional.cross_entropy(net(X), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        right = sum(int((net(X).argmax(1) == y).sum()) for X, y in test_iter)
        accuracies.append(right / len(test_iter.tensors[2]))
    assert accuracies[0] < 0.6  # seen: 0.51
    assert accuracies[1] > 0.7  # seen: 0.83


class Compared(nn.Module):
    """Each word of the hypothesis beside what it attends to in the premise."""

    def __init__(self, vocab_size, parts):
        super().__init__()
        self.embedding, self.parts = nn.Embedding(vocab_size, 32), parts
        self.compare = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.out = nn.Linear(64, 3)

    def forward(self, X):
        A, B = (self.embedding(part) for part in X)
        weights = torch.softmax(B @ A.transpose(1, 2), -1)
        aligned = weights @ A if 0 in self.parts else torch.zeros_like(B)
        return self.out(self.compare(torch.cat([B, aligned], -1)).sum(1))
