import pytest
import torch

from gradbook.datasets.imdb import load_data_imdb, read_imdb
from gradbook.datasets.makers import reviews
from gradbook.errors import DataError, SampleDataWarning


@pytest.fixture
def few(monkeypatch):
    """Few reviews in the stand-in."""
    monkeypatch.setattr(reviews, "NUM_TRAIN", 40)
    monkeypatch.setattr(reviews, "NUM_TEST", 20)


def write(folder, reviews):
    for name, text in reviews.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def test_positive_reviews_come_first_and_in_the_order_of_their_names(folder):
    write(
        folder,
        {
            "train/neg/0_2.txt": "bad",
            "train/pos/1_9.txt": "very\ngood",
            "train/pos/0_8.txt": "gut, naïv",
            "test/pos/0_9.txt": "fine",
            "test/neg/0_1.txt": "awful",
        },
    )
    assert read_imdb(folder, True) == (["gut, naïv", "verygood", "bad"], [1, 1, 0])
    assert read_imdb(str(folder), is_train=False) == (["fine", "awful"], [1, 0])


def test_a_folder_without_reviews_is_named(folder):
    with pytest.raises(DataError, match=r"no reviews in .*train.pos"):
        read_imdb(folder, True)


def test_reviews_are_cut_and_filled_up_and_only_those_for_training_are_shuffled(few):
    with pytest.warns(SampleDataWarning, match="made by rules"):
        train_iter, test_iter, vocab = load_data_imdb(8, num_steps=300)
    assert (len(train_iter), len(test_iter)) == (5, 3)
    X, y = next(iter(train_iter))
    assert X.shape == (8, 300)
    assert y.shape == (8,)
    assert 0 < y.sum() < 8
    assert (X[:, -1] == vocab["<pad>"]).any()
    assert vocab["<pad>"] != vocab.unk
    labels = torch.cat([y for _, y in test_iter])
    assert labels.tolist() == [1] * 10 + [0] * 10


@pytest.mark.slow
def test_a_bag_of_words_is_better_than_chance_and_not_always_right(monkeypatch):
    monkeypatch.setattr(reviews, "NUM_TRAIN", 1500)
    monkeypatch.setattr(reviews, "NUM_TEST", 500)
    with pytest.warns(SampleDataWarning):
        train_iter, test_iter, vocab = load_data_imdb(64, num_steps=200)
    torch.manual_seed(0)
    net = torch.nn.EmbeddingBag(len(vocab), 2, padding_idx=vocab["<pad>"])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(4):
        for X, y in train_iter:
            loss = torch.nn.functional.cross_entropy(net(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    right = sum(int((net(X).argmax(1) == y).sum()) for X, y in test_iter)
    assert 0.7 < right / len(test_iter.tensors[1]) < 0.99


def test_a_file_that_is_no_review_is_left_out(folder):
    write(folder, {"test/pos/README": "no", "test/pos/0_9.txt": "a", "test/neg/0_1.txt": "b"})
    assert read_imdb(folder, False) == (["a", "b"], [1, 0])
