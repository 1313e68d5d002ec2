import collections
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradbook.datasets.text import TimeMachine, Vocab, tokenize
from gradbook.errors import ConfigError, DataError, SampleDataWarning

TEXT = "The Time Machine, by H. G. Wells [1898]\n\nThe Time Traveller (for so it will be)\n" * 5


class Small(TimeMachine):
    """A text of 400 characters, so that nothing is looked for."""

    def _download(self):
        return TEXT


# tokenize -----------------------------------------------------------------------------------------


def test_lines_become_words_or_characters():
    assert tokenize(["the  time\tmachine", ""]) == [["the", "time", "machine"], []]
    assert tokenize(["a b"], "char") == [["a", " ", "b"]]


def test_another_kind_of_token_is_refused():
    with pytest.raises(ConfigError, match="token is one of word, char"):
        tokenize(["a"], "words")


# Vocab --------------------------------------------------------------------------------------------


def test_tokens_are_numbered_in_the_order_of_their_characters():
    vocab = Vocab(list("time machine"))
    assert vocab.idx_to_token == sorted({"<unk>", *"time machine"})
    assert len(vocab) == 10
    assert all(vocab.token_to_idx[token] == i for i, token in enumerate(vocab.idx_to_token))


def test_lines_of_tokens_count_as_one_list():
    lines = [["a", "b"], [], ["b", "c"]]
    assert Vocab(lines).token_freqs == [("b", 2), ("a", 1), ("c", 1)]


def test_rare_tokens_are_left_out_and_are_unknown():
    vocab = Vocab(["a", "a", "b"], min_freq=2)
    assert vocab.idx_to_token == ["<unk>", "a"]
    assert vocab["b"] == vocab["nowhere"] == vocab.unk == 0


def test_reserved_tokens_are_there_in_any_case():
    vocab = Vocab(["z"], min_freq=9, reserved_tokens=["<pad>", "<bos>"])
    assert vocab.idx_to_token == ["<bos>", "<pad>", "<unk>"]


def test_tokens_may_come_one_by_one_or_as_one_text():
    assert Vocab(iter("aab")).token_freqs == Vocab("aab").token_freqs == [("a", 2), ("b", 1)]


def test_reserved_tokens_that_are_one_text_are_refused():
    with pytest.raises(ConfigError, match=r"such as \['<pad>'\]"):
        Vocab(["z"], reserved_tokens="<pad>")


def test_an_empty_vocabulary_knows_the_unknown_token():
    assert Vocab().idx_to_token == ["<unk>"]


def test_a_list_of_tokens_gives_a_list_of_numbers_also_within_lists():
    vocab = Vocab(["a", "b"])
    assert vocab["a", "b"] == vocab[["a", "b"]] == [1, 2]
    assert vocab[[["a"], ("b", "x")]] == [[1], [2, 0]]


@pytest.mark.parametrize("indices", [[1, 2], (1, 2), torch.tensor([1, 2])])
def test_numbers_give_their_tokens(indices):
    assert Vocab(["a", "b"]).to_tokens(indices) == ["a", "b"]


def test_one_number_gives_a_token_and_a_list_of_one_a_list():
    vocab = Vocab(["a", "b"])
    assert vocab.to_tokens(1) == vocab.to_tokens(torch.tensor(1)) == "a"
    assert vocab.to_tokens([1]) == vocab.to_tokens(torch.tensor([1])) == ["a"]
    assert vocab.to_tokens([]) == []


@pytest.mark.parametrize("index", [3, -1, 1.0, "a"])
def test_a_number_that_no_token_has_is_refused(index):
    with pytest.raises(DataError, match="numbers 0 to 2"):
        Vocab(["a", "b"]).to_tokens([index])


@given(st.lists(st.text("abc", min_size=1)))
def test_numbers_lead_back_to_the_tokens(tokens):
    vocab = Vocab(tokens)
    assert vocab.to_tokens(vocab[tokens]) == tokens
    assert dict(vocab.token_freqs) == collections.Counter(tokens)


# TimeMachine --------------------------------------------------------------------------------------


def test_the_text_becomes_small_letters_and_spaces():
    data = Small(2, 5, num_train=10, num_val=10)
    text = "".join(data.vocab.to_tokens(data.X[:100, 0]))
    assert text.startswith("the time machine by h g wells the time traveller for so it will be the")


def test_a_label_is_the_next_character():
    data = Small(2, 5, num_train=10, num_val=10)
    assert torch.equal(data.X[1:], data.Y[:-1])
    assert torch.equal(data.X[:, 1:], data.Y[:, :-1])


def test_every_part_of_the_text_is_an_example():
    data = Small(2, 5, num_train=10, num_val=10)
    corpus, _ = data.build(TEXT)
    assert data.X.shape == data.Y.shape == (len(corpus) - 5, 5)


def test_training_takes_the_first_examples_and_validation_those_after_them():
    data = Small(4, 5, num_train=10, num_val=6)
    train = torch.cat([X for X, _ in data.train_dataloader()])
    assert sorted(map(tuple, train.tolist())) == sorted(map(tuple, data.X[:10].tolist()))
    val = torch.cat([Y for _, Y in data.val_dataloader()])
    assert torch.equal(val, data.Y[10:16])


def test_without_validation_examples_there_is_no_validation():
    assert Small(4, 5, num_train=10, num_val=0).val_dataloader() is None


def test_more_examples_than_the_text_has_are_refused():
    with pytest.raises(ConfigError, match=r"too many: the text has 3\d\d tokens"):
        Small(4, 5, num_train=300, num_val=100)


def test_the_classes_of_an_inspection_are_the_tokens():
    data = Small(4, 5, num_train=10, num_val=10)
    assert data.text_labels(data.vocab[["t", " "]]) == ["t", "space"]


def test_a_text_can_be_read_with_the_vocabulary_of_another():
    data = Small(4, 5, num_train=10, num_val=10)
    corpus, vocab = data.build("Xylophone", data.vocab)
    assert vocab is data.vocab
    assert vocab.unk in corpus


def test_methods_that_the_books_reader_replaces_are_used(undo_patches):
    class Words(Small):
        def _tokenize(self, text):
            return text.split()

    data = Words(2, 3, num_train=10, num_val=10)
    assert data.vocab.to_tokens(data.X[0]) == ["the", "time", "machine"]


def test_the_true_text_is_used_where_it_is(monkeypatch, tmp_path):
    (tmp_path / "timemachine.txt").write_text(TEXT)
    url = "http://127.0.0.1/timemachine.txt"
    monkeypatch.setitem(
        TimeMachine._download.__globals__, "BOOKS_FILES", {"time_machine": (url, None)}
    )
    data = TimeMachine(2, 5, 10, 10, root=str(tmp_path))
    assert not data.is_sample
    assert data.source == tmp_path / "timemachine.txt"


def test_another_novel_stands_in_and_is_said_to():
    with pytest.warns(SampleDataWarning, match="Northanger Abbey"):
        data = TimeMachine(batch_size=2, num_steps=10)
    assert data.is_sample
    assert len(data.vocab) == 28  # as of the book
    assert 170_000 < len(data.X) < 175_000
    assert re.fullmatch("[a-z ]+", "".join(data.vocab.to_tokens(data.X[:2000, 0])))
