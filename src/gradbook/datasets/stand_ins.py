"""Stand-ins: what replaces a file of the book that is neither here nor to be had.

`download` and the data sets come here when a file cannot be fetched. A stand-in has the name and
the format of the file that it replaces, it is the same on every machine, and it lies in a folder of
its own in the user's cache: never where the true file would be. Whoever gets one is told.

To add one, write a function that makes the file in a module of `makers`, and its line in
`STAND_INS`:

    def write_fra_eng(path: Path) -> None:
        write_zip(path, [("fra-eng/fra.txt", text.encode())])

It gets the path to write to. It draws random numbers from a generator of its own, such as
`random.Random(0)`, because a seed that the user has set must not depend on it.
"""

import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from gradbook.datasets.archives import part_of
from gradbook.datasets.hub import BOOKS_FILES, cache_folder, is_offline
from gradbook.errors import ConfigError, SampleDataWarning, did_you_mean, warn


class StandIn(NamedTuple):
    """What replaces one file.

    Attributes:
        home: The module of the function that makes it, loaded when it is first needed.
        maker: The name of the function: it takes the path to write to.
        text: What it is, and how much of it there is, for the warning: "a novel by ...".
        unpacked: Of an archive, a folder that the book's cells open where the true archive would
            have been unpacked: a link is put there.
    """

    home: str
    maker: str
    text: str
    unpacked: str = ""


#: The stand-ins, by the file's name in `DATA_HUB`.
STAND_INS: dict[str, StandIn] = {
    "fra-eng": StandIn(
        "gradbook.datasets.makers.sentences",
        "write_fra_eng",
        "4,612 pairs of short sentences that a small grammar makes, instead of 167,130",
        unpacked="fra-eng",
    ),
    "time_machine": StandIn(
        "gradbook.datasets.makers.novels",
        "write_time_machine",
        "as much of Jane Austen's Northanger Abbey as The Time Machine has",
    ),
    "ptb": StandIn(
        "gradbook.datasets.makers.novels",
        "write_ptb",
        "three novels by Jane Austen, about a quarter as long as Penn Treebank",
    ),
    "wikitext-2": StandIn(
        "gradbook.datasets.makers.novels",
        "write_wikitext",
        "three novels by Jane Austen, about an eighth as long as WikiText-2",
    ),
    "airfoil": StandIn(
        "gradbook.datasets.makers.airfoil",
        "write_airfoil",
        "1,503 made-up measurements, by formula from the same quantities",
    ),
    "kaggle_house_train": StandIn(
        "gradbook.datasets.makers.house_prices",
        "write_train",
        "1,460 made-up houses in the same columns",
    ),
    "kaggle_house_test": StandIn(
        "gradbook.datasets.makers.house_prices",
        "write_test",
        "1,459 made-up houses in the same columns",
    ),
    "pokemon": StandIn(
        "gradbook.datasets.makers.creatures",
        "write_creatures",
        "1,024 drawn pictures of 128 made-up creatures",
    ),
    "banana-detection": StandIn(
        "gradbook.datasets.makers.drawn_images",
        "write_banana_detection",
        "drawings of yellow crescents, 256 for training and 64 for validation instead of 1,000 "
        "and 100 photographs",
    ),
    "cifar10_tiny": StandIn(
        "gradbook.datasets.makers.drawn_images",
        "write_cifar10_tiny",
        "1,000 drawings of ten shapes for training and 5 for testing instead of photographs",
    ),
    "dog_tiny": StandIn(
        "gradbook.datasets.makers.drawn_images",
        "write_dog_tiny",
        "drawings of 120 kinds of dogs, 600 for training and 10 for testing instead of photographs",
    ),
    "hotdog": StandIn(
        "gradbook.datasets.makers.drawn_images",
        "write_hotdog",
        "320 drawings for training and 128 for testing, half of them hot dogs, instead of 2,000 "
        "and 800 photographs",
    ),
    "voc2012": StandIn(
        "gradbook.datasets.makers.drawn_images",
        "write_voc2012",
        "drawings with objects of seven classes, 144 for training and 72 for validation instead "
        "of 1,464 and 1,449 photographs with 20 classes",
    ),
    "glove.6b.50d": StandIn(
        "gradbook.datasets.makers.word_vectors",
        "write_glove_50",
        "made vectors of about six thousand words instead of 400,000",
    ),
    "glove.6b.100d": StandIn(
        "gradbook.datasets.makers.word_vectors",
        "write_glove_100",
        "made vectors of about six thousand words instead of 400,000",
    ),
    "glove.42b.300d": StandIn(
        "gradbook.datasets.makers.word_vectors",
        "write_glove_300",
        "made vectors of about six thousand words instead of 1.9 million",
    ),
    "wiki.en": StandIn(
        "gradbook.datasets.makers.word_vectors",
        "write_wiki_en",
        "made vectors of about six thousand words instead of 2.5 million",
    ),
    "aclImdb": StandIn(
        "gradbook.datasets.makers.reviews",
        "write_imdb",
        "6,000 reviews of films that were made by rules, instead of 50,000 true ones",
    ),
    "SNLI": StandIn(
        "gradbook.datasets.makers.inference_pairs",
        "write_snli",
        "12,000 pairs of sentences that were made by rules, instead of 570,000 true ones",
    ),
    "bert.small": StandIn(
        "gradbook.datasets.makers.small_bert",
        "write_bert_small",
        "a BERT that was not pretrained, with made vectors as its embeddings of tokens",
    ),
}

_DAY_SECONDS = 24 * 60 * 60
#: Of which stand-ins the user was told already.
_told: set[str] = set()
#: Where stand-ins are kept if the user's cache cannot be written.
_own_folder: list[Path] = []


def stand_in(name: str) -> Path:
    """The file that stands in for a file of the book; made when it is first needed.

    It says nothing: who uses it tells the user, with `tell`.

    Args:
        name: A name in `STAND_INS`.

    Raises:
        ConfigError: If there is no stand-in of that name.
    """
    if name not in STAND_INS:
        raise ConfigError(
            f"There is no stand-in for {name!r}.{did_you_mean(name, STAND_INS)} "
            f"There is one for each of {', '.join(STAND_INS)}."
        )
    made = STAND_INS[name]
    for cache in _folders():
        path = cache / f"{name}-{_edition(made.home)}" / file_name(name)
        checksum = path.with_name(f"{path.name}.sha1")
        if _is_whole(path, checksum):
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = part_of(path)
            part.touch()
        except OSError:
            continue  # a folder that cannot be written
        try:
            getattr(import_module(made.home), made.maker)(part)
            # First, so that another process that meets the file can tell that it is whole.
            checksum.write_text(_sha1(part), encoding="ascii")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        _remove_editions_before(path.parent, name)
        return path
    raise AssertionError("a temporary folder can be written")


def _remove_editions_before(made: Path, name: str) -> None:
    """Removes the folders of a stand-in's earlier editions, as nothing asks for them any more.

    One of the last day stays: another installation of gradbook may be reading it.
    """
    editions = re.compile(rf"{re.escape(name)}-[0-9a-f]{{8}}")
    for folder in made.parent.iterdir():
        if folder == made or not editions.fullmatch(folder.name) or folder.is_symlink():
            continue
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _DAY_SECONDS:
                shutil.rmtree(folder)


def _is_whole(path: Path, checksum: Path) -> bool:
    """Whether a stand-in is there, and as it was made: one that is damaged is made anew."""
    try:
        return _sha1(path) == checksum.read_text(encoding="ascii")
    except (OSError, ValueError):
        return False


def _sha1(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def replace(name: str, missing: str | os.PathLike[str], error: Exception) -> Path:
    """The file that stands in for one that could not be fetched; tells the user.

    Args:
        name: A name in `STAND_INS`.
        missing: Where the true file would be.
        error: Why it is not there.
    """
    path, folder = stand_in(name), Path(missing).parent
    tell(name, Path(missing), error)
    if inner := STAND_INS[name].unpacked:
        with suppress(OSError):  # where links or the folder cannot be made, such a cell fails
            target = (path.parent / inner).absolute()
            if _is_own_link(folder / inner) and Path(os.readlink(folder / inner)) != target:
                remove_link(name, folder)  # it leads to an earlier edition, or to another cache
            if not os.path.lexists(folder / inner):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / inner).symlink_to(target, True)
    return path


def remove_link(name: str, folder: str | os.PathLike[str]) -> None:
    """Removes the link that `replace` has put into a folder, now that the true file is there."""
    inner = STAND_INS[name].unpacked
    link = Path(folder) / inner
    if inner and _is_own_link(link):
        link.unlink()


def _is_own_link(link: Path) -> bool:
    """Whether `replace` put a link there: now, or when the cache was another folder."""
    if not link.is_symlink():
        return False
    made = Path(os.readlink(link)).parent
    known = any(made.name.startswith(f"{name}-") for name in STAND_INS)
    return known and "stand-ins" in made.parent.name


def tell(name: str, missing: Path, error: Exception) -> None:
    """Warns that a stand-in is used; once for each in a process."""
    where = f"The true file was not found in {missing.parent}"
    if missing.is_file():
        where = f"{missing} is not the true file, for its checksum is another"
    way = f"put {missing.name} in {missing.parent}"
    tell_of(name, missing.name, STAND_INS[name].text, where, way, error)


def tell_of(name: str, title: str, text: str, where: str, way: str, error: Exception) -> None:
    """Warns that something stands in for data; once for each name in a process.

    Args:
        name: What it is known by here.
        title: What it stands in for.
        text: What it is, and how much of it there is.
        where: Where the true data are not, a sentence without its full stop.
        way: What gets them besides a network.
        error: Why they could not be fetched.
    """
    if name in _told:
        return
    _told.add(name)
    warn(
        f"A stand-in for {title} is used: {text}, so that results differ from those of the book. "
        f"{where}:\n{error}\n"
        f"Each of these gets it:\n"
        f"  {way}\n"
        f"  run again with a network{', without GRADBOOK_OFFLINE' if is_offline() else ''}",
        SampleDataWarning,
    )


def is_stand_in(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a stand-in, or was unpacked from one: what `download` gave tells it."""
    inner = Path(path).absolute()
    return any(folder.absolute() in inner.parents for folder in _folders(make=False))


def name_of(url: str, sha1_hash: str | None) -> str | None:
    """The name of the stand-in for what a URL would give; None if there is none.

    Args:
        url: The URL of the file.
        sha1_hash: Its checksum: a file of the book may be fetched from elsewhere, too.
    """
    known = (name for name in STAND_INS if url == BOOKS_FILES[name][0])
    same = (name for name in STAND_INS if sha1_hash == BOOKS_FILES[name][1])
    return next(chain(known, same), None)


def file_name(name: str) -> str:
    """The name that the true file has."""
    return BOOKS_FILES[name][0].rpartition("/")[2]


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Writes a zip archive that is the same whenever it is made.

    Args:
        path: The archive.
        members: Name and content of each file, one after the other.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            member = zipfile.ZipInfo(name)  # dated 1980
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)


def write_tar(path: Path, members: Iterable[tuple[str, bytes]], gzipped: bool = False) -> None:
    """Writes a tar archive that is the same whenever it is made.

    Args:
        path: The archive.
        members: Name and content of each file, one after the other.
        gzipped: Whether to compress it.
    """
    with ExitStack() as stack:
        file: Any = stack.enter_context(open(path, "wb"))
        if gzipped:
            file = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        archive = stack.enter_context(tarfile.open(fileobj=file, mode="w"))
        for name, content in members:
            member = tarfile.TarInfo(name)  # dated 1970
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _folders(make: bool = True) -> Iterable[Path]:
    """Where stand-ins may be kept: in the user's cache, else in a folder of this process."""
    yield cache_folder() / "stand-ins"
    if make and not _own_folder:
        _own_folder.append(Path(tempfile.mkdtemp(prefix="gradbook-stand-ins-")))
    yield from _own_folder


def _edition(home: str) -> str:
    """A few letters that change with the makers, so that no stand-in is outdated.

    All modules beside `home` count, because it may use them.
    """
    spec = find_spec(home)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {home}", name=home)
    sources = sorted(Path(spec.origin).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
