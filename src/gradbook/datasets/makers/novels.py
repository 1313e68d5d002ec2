"""Three novels by Jane Austen, and what they stand in for: other texts of the book.

They are in the public domain; `austen/README.md` tells where they come from.
"""

import bz2
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from gradbook.datasets.stand_ins import write_zip
from gradbook.datasets.text import UNKNOWN

FOLDER = Path(__file__).parent / "austen"
#: The novels, by the name of the file.
NOVELS = {
    "northanger_abbey": "Northanger Abbey",
    "persuasion": "Persuasion",
    "pride_and_prejudice": "Pride and Prejudice",
}
#: What separates a novel's chapters: the line of their number.
_HEADING = re.compile(r"^chapter \d+$", re.IGNORECASE | re.MULTILINE)
#: Words that end with a full stop that ends no sentence.
_TITLES = "Mr|Mrs|Dr|St|Esq|Messrs"
#: Characters of The Time Machine, which its stand-in has, too, up to the end of a sentence.
_TIME_MACHINE_LENGTH = 178_979


def read_novel(name: str) -> str:
    """The text of a novel: lines of at most 80 characters, and empty ones between paragraphs.

    Args:
        name: One of `NOVELS`.
    """
    return bz2.decompress((FOLDER / f"{name}.txt.bz2").read_bytes()).decode("utf-8")


def write_time_machine(path: Path) -> None:
    """Writes the beginning of a novel, as long as The Time Machine."""
    text = read_novel("northanger_abbey")
    end = text.index(".\n", _TIME_MACHINE_LENGTH) + 2
    path.write_text(text[:end], encoding="utf-8", newline="\n")


def write_ptb(path: Path) -> None:
    """Writes an archive of the novels in the form of Penn Treebank's.

    A line is a sentence, without punctuation and in small letters; a number is N, and a word that
    occurs once is <unk>.
    """
    _write(path, "ptb/ptb.{}.txt", _sentences, at_least=2)


def write_wikitext(path: Path) -> None:
    """Writes an archive of the novels in the form of WikiText-2's.

    A line is a heading, such as "= Persuasion =" for a novel and "= = Chapter 1 = =" within it, a
    paragraph, or empty. Words and punctuation stand apart, and a word that occurs less than three
    times is <unk>.
    """
    _write(path, "wikitext-2/wiki.{}.tokens", _paragraphs, at_least=3)


def _write(
    path: Path, name: str, lines_of: Callable[[str], Iterator[list[str]]], at_least: int
) -> None:
    """Writes an archive with a file for each split; words rare in the training set are <unk>.

    Args:
        path: The archive.
        name: The name of a file, with {} for the split.
        lines_of: Gives the lines of a chapter, each as its words.
        at_least: How often a word that is not rare occurs.
    """
    splits = {
        split: list(chain.from_iterable(map(lines_of, chapters)))
        for split, chapters in _splits().items()
    }
    counts = Counter(chain.from_iterable(splits["train"]))
    known = {word for word, count in counts.items() if count >= at_least}
    write_zip(
        path,
        (
            (name.format(split), _file(_without_rare(lines, known)))
            for split, lines in splits.items()
        ),
    )


def _splits() -> dict[str, list[str]]:
    """The chapters of all novels: of each ten, one for validation and one to test.

    A chapter begins with its heading, and the first of a novel in a split with the novel's title.
    """
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for name, title in NOVELS.items():
        chapters = _HEADING.split(read_novel(name))[1:]  # without the title page
        begun = set()
        for i, chapter in enumerate(chapters):
            split = {8: "valid", 9: "test"}.get(i % 10, "train")
            head = "" if split in begun else f"= {title} =\n\n"
            begun.add(split)
            splits[split].append(f"{head}= = Chapter {i + 1} = =\n\n{chapter.strip()}")
    return splits


def _plain_paragraphs(chapter: str) -> Iterator[str]:
    """The paragraphs and headings of a chapter, each in one line, without marks of emphasis."""
    for paragraph in re.split(r"\n\s*\n", chapter.replace("_", "")):
        yield " ".join(paragraph.split())


def _sentences(chapter: str) -> Iterator[list[str]]:
    """The words of each sentence, as in Penn Treebank."""
    for paragraph in _plain_paragraphs(chapter):
        if paragraph.startswith("="):
            continue
        for sentence in re.split(r"(?<=[.!?])(?<!\b[A-Z]\.)[\"')]*\s+", _protected(paragraph)):
            text = _apart(sentence.lower().replace("--", " "))
            text = re.sub(r"\d[\d,.]*", "N", text)
            words = re.findall(r"N|n't|'(?:s|ll|d|ve|re|m)\b|[a-z]+(?:['-][a-z]+)*\0?", text)
            if words:
                yield [word.replace("\0", ".") for word in words]


def _paragraphs(chapter: str) -> Iterator[list[str]]:
    """The words and punctuation of each paragraph, as in WikiText-2; between them, nothing."""
    for paragraph in _plain_paragraphs(chapter):
        text = _apart(_protected(paragraph)).replace("--", " – ")
        text = re.sub(r"(?<=\w)-(?=\w)", " @-@ ", text)
        tokens = re.findall(r"@-@|n't|'(?:s|ll|d|ve|re|m)\b|\w+\0?|[^\w\s]", text)
        yield [token.replace("\0", ".") for token in tokens]
        yield []


def _protected(text: str) -> str:
    """A text in which a full stop that ends no sentence is a null."""
    return re.sub(rf"\b({_TITLES})\.", "\\1\0", text)


def _apart(text: str) -> str:
    """A text in which what follows an apostrophe stands apart, as in "do n't" and "Emma 's"."""
    text = re.sub(r"(?<=\w)n't\b", " n't", text)
    return re.sub(r"(?<=\w)'(s|ll|d|ve|re|m)\b", r" '\1", text)


def _without_rare(lines: Iterable[list[str]], known: set[str]) -> Iterator[str]:
    """The lines, each as one text, with <unk> for every word that is not known."""
    for line in lines:
        yield " ".join(word if word in known else UNKNOWN for word in line)


def _file(lines: Iterable[str]) -> bytes:
    """A file whose lines begin and end with a space, as those of both data sets do."""
    return "".join(f" {line} \n" if line else " \n" for line in lines).encode()
