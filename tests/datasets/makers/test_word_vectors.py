import zipfile

import numpy as np
import pytest

from gradbook.datasets.makers import inference_pairs, novels, reviews, word_vectors


@pytest.fixture
def short(monkeypatch):
    """A short text in the place of the novels."""
    text = "the cat sat on the mat and the dog sat by the cat " * 50
    monkeypatch.setattr(novels, "read_novel", lambda name: text)
    monkeypatch.setattr(word_vectors, "_KNOWN_NUMBER", ("beautiful", 30))
    monkeypatch.setattr(word_vectors, "_CONTEXTS", slice(0, 5))


def test_the_words_of_reviews_and_pairs_have_vectors(short):
    words, vectors = word_vectors.word_vectors(20)
    assert vectors.shape == (len(words), 20)
    assert np.isfinite(vectors).all()
    assert len(set(words)) == len(words)
    assert reviews.words() | inference_pairs.words() | {"mat"} <= set(words)
    assert words[29] == "beautiful"


def test_praise_and_blame_are_opposite_directions():
    features = word_vectors.table_features()
    assert features["great"]["praise of films"] == -features["awful"]["praise of films"] > 0


def test_rows_of_a_relation_differ_by_their_place_alone():
    features = word_vectors.table_features()

    def without(word, *names):
        return {name: times for name, times in features[word].items() if name not in names}

    places = "place geography capital", "place geography country"
    assert without("tokyo", *places) == without("japan", *places)


def test_the_files_have_the_form_of_the_originals(short, folder):
    for write, name, head in (
        (word_vectors.write_glove_50, "glove.6B.50d", None),
        (word_vectors.write_wiki_en, "wiki.en", 300),
    ):
        write(folder / "made.zip")
        lines = zipfile.ZipFile(folder / "made.zip").read(f"{name}/vec.txt").decode().split("\n")
        if head:
            assert lines.pop(0) == f"{len(lines) - 1} {head}"
        assert lines.pop() == ""
        assert {len(line.split(" ")) for line in lines} == {1 + (head or 50)}
