import zipfile
from collections import Counter

import pytest

from gradbook.datasets.makers import novels
from gradbook.datasets.stand_ins import stand_in


def lines_of(name, member):
    with zipfile.ZipFile(stand_in(name)) as archive:
        return archive.read(member).decode().split("\n")


@pytest.mark.parametrize("name", novels.NOVELS)
def test_a_novel_is_a_text_of_paragraphs(name):
    text = novels.read_novel(name)
    assert len(text) > 400_000
    assert text.isascii()
    assert text.lower().startswith(novels.NOVELS[name].lower())


def test_the_time_machines_stand_in_is_as_long_and_ends_with_a_sentence():
    text = stand_in("time_machine").read_text()
    assert 178_979 <= len(text) <= 181_000
    assert text.endswith(".\n")


@pytest.mark.slow
def test_a_line_of_ptb_is_a_sentence_in_small_letters_without_punctuation():
    lines = lines_of("ptb", "ptb/ptb.train.txt")
    assert lines[0].startswith(" no one who had ever seen catherine morland in her infancy would ")
    assert lines[0].endswith(" be an heroine ")
    assert lines.pop() == ""
    words = Counter(word for line in lines for word in line.split(" ")[1:-1])
    assert "" not in words
    assert all(word.islower() for word in words if word != "N")
    assert min(words.values()) > 1  # rarer ones are unknown
    assert {"N", "<unk>", "mr.", "n't", "'s"} <= set(words)
    assert len(lines) > 10_000


@pytest.mark.slow
def test_wikitext_has_headings_and_paragraphs_of_several_sentences():
    lines = lines_of("wikitext-2", "wikitext-2/wiki.train.tokens")
    assert lines[:4] == [" = Northanger Abbey = ", " ", " = = Chapter 1 = = ", " "]
    titles = [line for line in lines if line.startswith(" = ") and line[3] != "="]
    assert len(titles) == len(novels.NOVELS)
    assert sum(len(line.split(" . ")) >= 2 for line in lines) > 2000
    words = Counter(word for line in lines for word in line.split())
    assert {"<unk>", "@-@", "Mr.", ",", "Catherine"} <= set(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "member"), [("ptb", "ptb/ptb.{}.txt"), ("wikitext-2", "wikitext-2/wiki.{}.tokens")]
)
def test_no_paragraph_is_in_two_splits(name, member):
    splits = [lines_of(name, member.format(split)) for split in ("train", "valid", "test")]
    long = [{line for line in lines if len(line) > 200} for lines in splits]
    assert not long[0] & long[1]
    assert not long[0] & long[2]
    assert not long[1] & long[2]
