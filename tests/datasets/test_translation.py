import zipfile

import pytest
import torch

from gradbook.datasets import download, extract, files, hub, stand_ins
from gradbook.datasets.makers.sentences import _pairs, write_fra_eng
from gradbook.datasets.text import Vocab
from gradbook.datasets.translation import (
    MTFraEng,
    build_array_nmt,
    load_data_nmt,
    preprocess_nmt,
    read_data_nmt,
    tokenize_nmt,
    truncate_pad,
)
from gradbook.errors import ConfigError, DataError

PAIRS = """\
Go.\tVa\u202f!
I ran.\tJ'ai couru.
I won.\tJ'ai gagné.
no pair
He ran.\tIl a couru.
He won.\tIl a gagné, Tom.
"""


class Pairs(MTFraEng):
    """Five known pairs of sentences."""

    def _download(self):
        return PAIRS


@pytest.fixture
def data():
    return Pairs(2, num_steps=4, num_train=3, num_val=2)


def test_marks_become_words_and_letters_small():
    assert preprocess_nmt("Oh... No\xa0?\tÉté\u202f!") == "oh . . . no ?\tété !"
    assert preprocess_nmt(".a, b") == ".a , b"


def test_of_the_lines_as_many_pairs_are_taken_as_were_asked_for():
    text = preprocess_nmt(PAIRS)
    src, tgt = tokenize_nmt(text, 4)
    assert src == [["go", "."], ["i", "ran", "."], ["i", "won", "."], ["he", "ran", "."]]
    assert tgt[3] == ["il", "a", "couru", "."]
    assert len(tokenize_nmt(text)[0]) == 5


def test_a_line_is_cut_or_padded():
    assert truncate_pad([1, 2, 3], 2, 0) == [1, 2]
    assert truncate_pad([1], 3, 0) == [1, 0, 0]
    assert truncate_pad([], 1, "<pad>") == ["<pad>"]
    assert truncate_pad((1, 2), 3, 0) == [1, 2, 0]


def test_labels_are_the_decoder_s_inputs_one_token_on(data):
    src, tgt, valid_len, label = data.arrays
    words = data.tgt_vocab.to_tokens
    assert data.src_vocab.to_tokens(src[1]) == ["i", "ran", ".", "<eos>"]
    assert words(tgt[1]) == ["<bos>", "j'ai", "couru", "."]
    assert words(label[1]) == ["j'ai", "couru", ".", "<eos>"]
    assert valid_len.tolist() == [3, 4, 4, 4, 4]
    assert words(label[4]) == ["il", "a", "gagné", "<unk>"]  # cut, and a comma that occurs once


def test_a_word_that_occurs_once_is_unknown_and_the_special_tokens_are_not(data):
    assert "go" not in data.src_vocab.token_to_idx
    small = Pairs(1, num_steps=3, num_train=1, num_val=0)
    assert {"<pad>", "<bos>", "<eos>"} < set(small.tgt_vocab.token_to_idx)
    assert small.arrays[2].tolist() == [3]


def test_training_and_validation_have_their_own_pairs(data):
    train, val = (torch.cat([b[0] for b in data.get_dataloader(t)]) for t in (True, False))
    assert sorted(train.tolist()) == sorted(data.arrays[0][:3].tolist())
    assert torch.equal(val, data.arrays[0][3:])
    assert Pairs(2, num_train=3, num_val=0).val_dataloader() is None


def test_other_sentences_are_built_with_the_same_vocabularies_all_of_them(data):
    many = [["he ran ."] * 9, ["il a couru ."] * 9]
    src, tgt, valid_len, _ = data.build(*many)
    assert len(src) == 9
    assert torch.equal(src[0], data.arrays[0][3])
    assert torch.equal(tgt[0], data.arrays[1][3])
    assert valid_len.dtype is torch.int32
    with pytest.raises(DataError, match="2 source sentences, but 1"):
        data.build(["a", "b"], ["c"])


def test_more_pairs_than_there_are_cannot_be_asked_for():
    with pytest.raises(ConfigError, match="only 5 pairs"):
        Pairs(2, num_train=5, num_val=1)


def test_the_book_s_way_to_write_it_in_parts_works():
    from gradbook import DataModule, add_to_class

    class Mine(DataModule):
        def _download(self):
            return PAIRS

    data = Mine()
    for name in ("_preprocess", "_tokenize"):
        add_to_class(Mine)(getattr(MTFraEng, name))
    src, tgt = data._tokenize(data._preprocess(data._download()))
    assert src[0] == ["go", ".", "<eos>"]
    assert tgt[0] == ["va", "!", "<eos>"]


def test_older_arrays_end_with_eos_before_the_padding():
    vocab = Vocab(["a", "b"], reserved_tokens=["<pad>", "<bos>", "<eos>"])
    array, valid_len = build_array_nmt([["a"], ["a", "b", "a"]], vocab, 3)
    assert vocab.to_tokens(array) == [["a", "<eos>", "<pad>"], ["a", "b", "a"]]
    assert valid_len.tolist() == [2, 3]


GRAMMAR = dict(_pairs())


def text_of(path):
    with zipfile.ZipFile(path) as archive:
        return archive.read("fra-eng/fra.txt").decode()


def test_the_stand_in_has_each_sentence_once_the_shortest_first(folder):
    write_fra_eng(folder / "fra-eng.zip")
    pairs = [line.split("\t") for line in text_of(folder / "fra-eng.zip").splitlines()]
    lengths = [len(en) for en, _ in pairs]
    assert lengths == sorted(lengths)
    assert len({en for en, _ in pairs}) == len(pairs)
    assert f"{len(pairs):,} pairs" in stand_ins.STAND_INS["fra-eng"].text


def test_the_stand_in_holds_what_the_book_translates(folder):
    write_fra_eng(folder / "fra-eng.zip")
    text = preprocess_nmt(text_of(folder / "fra-eng.zip")).splitlines()
    for pair in ("go .\tva !", "i lost .\tj'ai perdu .", "he's calm .\til est calme ."):
        assert text.index(pair) < 640
    assert text.index("i'm home .\tje suis chez moi .") < 640


@pytest.mark.parametrize(
    "pair",
    [
        "She's happy.\tElle est heureuse.",
        "They're not proud.\tIls ne sont pas fiers.",
        "Is Mary home?\tMarie est-elle chez elle\u202f?",
        "Did he win?\tA-t-il gagné\u202f?",
        "We left.\tNous sommes partis.",
        "I didn't lose.\tJe n'ai pas perdu.",
        "I have an apple.\tJ'ai une pomme.",
        "Tom sees the bird.\tTom voit l'oiseau.",
        "My flower is white.\tMa fleur est blanche.",
    ],
)
def test_the_sentences_of_the_stand_in_are_right(pair):
    en, fr = pair.split("\t")
    assert GRAMMAR[en] == fr.replace("\u202f", " ")


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_without_a_network_the_stand_in_is_used_and_held_out_words_are_known(folder):
    data = MTFraEng(128, root=str(folder / "data"))
    assert data.is_sample
    assert len(data.arrays[0]) == 640
    trained = set(data.arrays[0][:512].flatten().tolist())
    unseen = [word not in trained for word in data.arrays[0][512:].flatten().tolist()]
    assert sum(unseen) < 0.01 * len(unseen)


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_the_older_functions_give_the_same_sentences(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert read_data_nmt().startswith("Hi") or read_data_nmt().startswith("Go")
    loader, src_vocab, tgt_vocab = load_data_nmt(batch_size=4, num_steps=8, num_examples=50)
    X, X_len, Y, Y_len = next(iter(loader))
    assert X.shape == Y.shape == (4, 8)
    assert X_len.shape == Y_len.shape == (4,)
    assert src_vocab["<pad>"] != tgt_vocab["<eos>"]
    assert sum(len(batch[0]) for batch in loader) == 50


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_the_book_s_cell_finds_the_stand_in_where_it_looks_for_the_true_sentences(folder):
    url, checksum = hub.BOOKS_FILES["fra-eng"]
    extract(download(url, folder / "data", checksum))
    inner = folder / "data" / "fra-eng"
    assert inner.is_symlink()
    assert stand_ins.is_stand_in(inner.resolve())
    assert len((inner / "fra.txt").read_text(encoding="utf-8").splitlines()) > 4000


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_the_true_file_takes_the_place_of_the_link(folder, monkeypatch):
    stand_in = download("fra-eng", folder / "data")
    stand_ins.write_zip(folder / "data" / "fra-eng.zip", [("fra-eng/fra.txt", b"Go.\tVa !\n")])
    monkeypatch.setattr(files, "DATA_HUB", {"fra-eng": (files.DATA_HUB["fra-eng"][0], None)})
    true = download("fra-eng", folder / "data")
    assert true != stand_in
    extract(true)
    assert (folder / "data" / "fra-eng" / "fra.txt").read_bytes() == b"Go.\tVa !\n"


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_a_folder_that_is_there_already_is_left_as_it_is(folder):
    (folder / "fra-eng").mkdir()
    download("fra-eng", folder)
    assert not (folder / "fra-eng").is_symlink()
