import pytest
import torch

from gradbook.datasets import embeddings
from gradbook.datasets.embeddings import TokenEmbedding
from gradbook.errors import ConfigError, DataError, SampleDataWarning


@pytest.fixture
def made(monkeypatch, folder):
    """A file in the place of GloVe's; gives what sets its text and reads it."""

    def use(text):
        (folder / "vec.txt").write_text(text, encoding="utf-8", newline="")
        monkeypatch.setattr(embeddings, "download_extract", lambda name: str(folder))
        return TokenEmbedding("glove.6b.50d")

    return use


def test_a_token_has_the_vector_of_its_line_and_an_unknown_one_zeros(made):
    embedding = made("the 1 2.5\ncat -3e-1 4\n")
    assert embedding.idx_to_token == ["<unk>", "the", "cat"]
    assert embedding.token_to_idx["cat"] == 2
    assert embedding.unknown_idx == 0
    assert len(embedding) == 3
    assert embedding.idx_to_vec.dtype is torch.float32
    expected = torch.tensor([[-0.3, 4], [0, 0], [1, 2.5]])
    assert torch.equal(embedding[["cat", "dog", "the"]], expected)
    assert repr(embedding) == "TokenEmbedding: 3 tokens, 2 dimensions"


def test_a_token_that_is_no_list_has_one_vector(made):
    assert made("the 1 2\n")["the"].tolist() == [1, 2]


def test_the_first_line_of_fasttext_is_no_token(made):
    assert made("2 3\na 1 2 3 \nb 4 5 6 \n").idx_to_token == ["<unk>", "a", "b"]


def test_a_token_may_hold_what_ends_a_line_elsewhere(made):
    assert made("a\x85b 1 2\nc\u2028 3 4\n").idx_to_token == ["<unk>", "a\x85b", "c\u2028"]


@pytest.mark.parametrize("text", ["a 1 2\nb 3\n\n", "a 1 2\nb 3 4 5\n", "a 1 2\nb x y\n"])
def test_a_line_that_is_no_vector_is_named(made, text):
    with pytest.raises(DataError, match=r"line [23] must be a token and 2 numbers"):
        made(text)


def test_a_file_without_vectors_is_refused(made):
    with pytest.raises(DataError, match="holds no word vectors"):
        made("")


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"glove\.6b\.50d"):
        TokenEmbedding("glove.6b.50")


@pytest.mark.slow
def test_in_the_stand_in_the_books_analogies_and_neighbors_hold():
    with pytest.warns(SampleDataWarning, match="made vectors"):
        embedding = TokenEmbedding("glove.6b.50d")
    W = torch.nn.functional.normalize(embedding.idx_to_vec, dim=1)

    def nearest(x, k):
        return [embedding.idx_to_token[i] for i in (W @ x).topk(k).indices.tolist()]

    assert (embedding.token_to_idx["beautiful"], embedding.idx_to_token[3367]) == (
        3367,
        "beautiful",
    )
    for a, b, c, d in (
        ("man", "woman", "son", "daughter"),
        ("beijing", "china", "tokyo", "japan"),
        ("bad", "worst", "big", "biggest"),
        ("do", "did", "go", "went"),
    ):
        x = embedding[b] - embedding[a] + embedding[c]
        assert nearest(x, 1) == [d]
    assert {"chips", "intel"} <= set(nearest(embedding["chip"], 5))
    assert {"babies", "infant"} <= set(nearest(embedding["baby"], 5))
    assert {"lovely", "gorgeous"} <= set(nearest(embedding["beautiful"], 5))
