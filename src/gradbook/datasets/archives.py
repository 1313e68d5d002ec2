"""Archives, unpacked so that nothing is ever written outside a folder.

Book: 5.7 (sec_kaggle_house), and the utilities of the appendix.
"""

import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from gradbook.errors import ConfigError, CorruptFileError, DataError

#: What the libraries raise when an archive is truncated or damaged.
_DAMAGES = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    ValueError,  # numbers and names that make no sense
    OverflowError,
)


def extract(filename: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> None:
    """Unpacks an archive: zip, tar, tar with any compression, or a single file in gzip.

    Nothing is ever written outside `folder`, whatever names or links the archive holds: such an
    archive is refused before its first file is written.

    Args:
        filename: The archive. Its content, not its name, tells what it is.
        folder: Where to put the files; without it, the folder in which the archive lies.

    Raises:
        ConfigError: If there is no such file, or `folder` cannot be made.
        DataError: If the archive holds a name or a link that leads outside `folder`, needs a
            password, or cannot be written; or the file is no archive.
        CorruptFileError: If the archive is empty, truncated or damaged.

    Book: 5.7.1.
    """
    archive = Path(filename)
    target = archive.parent if folder is None else Path(folder)
    if not archive.is_file():
        raise ConfigError(f"{archive} cannot be unpacked: there is no such file.")
    if archive.stat().st_size == 0:
        raise _damaged(archive, "it is empty")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{archive} cannot be unpacked: {target} cannot be made a folder ({error.strerror})."
        ) from error
    try:
        # A zip is known by its end, and a tar may end in one.
        if tarfile.is_tarfile(archive):
            _extract_tar(archive, target)
        elif zipfile.is_zipfile(archive):
            _extract_zip(archive, target)
        elif archive.suffix == ".gz":
            _extract_gzip(archive, target)
        elif archive.suffix in (".zip", ".tar", ".tgz", ".bz2", ".xz"):
            raise _damaged(archive, "its content does not begin or end like such an archive")
        else:
            raise DataError(f"{archive} is not a zip, tar or gzip file, so it cannot be unpacked.")
    except DataError:
        raise
    except _DAMAGES as error:
        raise _damaged(archive, str(error) or "it breaks off") from error
    except RuntimeError as error:  # a password, or a method that Python does not know
        raise DataError(
            f"{archive} cannot be unpacked: {error}. Unpack it with another program."
        ) from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # from a decoder, or a place before the beginning
            raise _damaged(archive, str(error)) from error
        where = error.filename or target
        raise DataError(f"{archive} cannot be unpacked: {error.strerror} ({where}).") from error


def _damaged(archive: Path, reason: str) -> CorruptFileError:
    return CorruptFileError(
        f"{archive} is truncated or damaged: {reason}. Delete it and run again to fetch it anew."
    )


def _check_inside(archive: Path, target: Path, name: str) -> None:
    """Refuses a member whose name would be written outside `target`."""
    path = PureWindowsPath(name)  # which knows both kinds of slashes
    # `resolve` follows what is on the disk: a link left there must not lead the file astray.
    leads_out = not (target / name).resolve().is_relative_to(target.resolve())
    if path.drive or path.root or ".." in path.parts or leads_out:
        raise DataError(
            f"{archive} is refused: its member {name!r} would be written outside {target}. "
            f"Nothing was unpacked."
        )


def _extract_zip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            _check_inside(archive, target, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise DataError(
                    f"{archive} is refused: its member {member.filename!r} is a symbolic link, "
                    f"which zip files cannot bring safely. Nothing was unpacked."
                )
        file.extractall(target)


def _extract_tar(archive: Path, target: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise DataError("To unpack a tar file safely, Python 3.11.4 or newer is needed.")
    with tarfile.open(archive) as file:
        links = {_folded(member.name) for member in file if member.issym() or member.islnk()}
        for member in file:
            _check_inside(archive, target, member.name)
            # The filter follows links as they are on the disk, and could be led astray by long
            # chains of them. So nothing is written at or below a link that the archive brings.
            path = _folded(member.name)
            is_link = member.issym() or member.islnk()
            if not links.isdisjoint(path.parents) or (path in links and not is_link):
                raise DataError(
                    f"{archive} is refused: its member {member.name!r} would be written through "
                    f"a link of the archive. Nothing was unpacked."
                )
            try:
                tarfile.data_filter(member, str(target.resolve()))
            except tarfile.FilterError as error:
                raise DataError(f"{archive} is refused: {error}. Nothing was unpacked.") from error
        file.extractall(target, filter="data")


def _folded(name: str) -> PurePosixPath:
    """A name as a file system sees it that ignores case."""
    return PurePosixPath(name.casefold())


def _extract_gzip(archive: Path, target: Path) -> None:
    path = target / archive.stem
    _check_inside(archive, target, archive.stem)
    part = part_of(path)
    try:
        with gzip.open(archive) as source, open(part, "wb") as file:
            shutil.copyfileobj(source, file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """A new name beside `path`, for what is not whole yet.

    An own name for each process, and no `tempfile`: it would hide the file from others. Without
    the file's own name, which may be as long as a name can be.
    """
    return path.with_name(f".{uuid.uuid4().hex}.part")
