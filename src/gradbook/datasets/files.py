"""Files from the network: found, fetched from several mirrors, verified.

Book: 5.7 (sec_kaggle_house), and the utilities of the appendix.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from gradbook.datasets import stand_ins
from gradbook.datasets.archives import extract, part_of
from gradbook.datasets.hub import DATA_HUB, is_offline
from gradbook.errors import ConfigError, CorruptFileError, DataError, DownloadError, did_you_mean
from gradbook.interrupts import interruptible

#: Seconds to wait for a connection, and for the next bytes. A machine behind a wall that drops
#: packets must learn it soon, because a bundled sample is waiting.
TIMEOUT_SECONDS = (3.0, 20.0)
#: How often one URL is tried when its transfer breaks off half-way.
NUM_ATTEMPTS = 3
_CHUNK_BYTES = 1 << 16
#: Seconds for which a host that was silent is not asked again.
PATIENCE_SECONDS = 60.0
#: Hosts that could not be reached, and did not say so at once: when that was, and the reason.
_silent: dict[str, tuple[float, str]] = {}

#: File systems take no longer names.
_MAX_NAME_BYTES = 255

Verify = Callable[[Path], Any]


def download(
    url: str, folder: str | os.PathLike[str] = "../data", sha1_hash: str | None = None
) -> str:
    """Fetches a file, unless it is there already, and returns its path.

    A file that is there is used if its checksum matches, and fetched again if it does not.
    Without a checksum, a file that is there is used as it is: delete it to fetch it anew.

    For some of the book's files there is a stand-in (`gradbook.datasets.stand_ins`), which is used,
    with a warning, if the file cannot be fetched.

    Args:
        url: A URL, or a name in `DATA_HUB`.
        folder: Where to put the file; made if need be.
        sha1_hash: The SHA-1 checksum in hexadecimal digits. A name in `DATA_HUB` brings its own.

    Returns:
        The path of the file in `folder`; that of a stand-in is in the user's cache.

    Raises:
        ConfigError: If `url` is neither a URL with a file name nor a name in `DATA_HUB`, or
            `sha1_hash` is no such checksum.
        DownloadError: If the file cannot be fetched, does not match its checksum, or cannot be
            written, and has no stand-in.

    Book: 5.7.1.
    """
    if not isinstance(url, str):
        raise ConfigError(f"url must be a URL or a name in DATA_HUB, as text, not {url!r}.")
    if "://" not in url:
        if url not in DATA_HUB:
            raise ConfigError(
                f"{url!r} is not a name in DATA_HUB.{did_you_mean(url, DATA_HUB)} "
                f"A URL begins with http:// or https://."
            )
        url, hub_hash = DATA_HUB[url]
        sha1_hash = sha1_hash or hub_hash
    verify = None if sha1_hash is None else _sha1_check(sha1_hash)
    path = os.path.join(folder, _file_name(url))
    name = stand_ins.name_of(url, sha1_hash)
    try:
        fetch([url], path, verify)
    except DownloadError as error:
        if name is None:
            raise
        return str(stand_ins.replace(name, path, error))
    if name is not None:
        stand_ins.remove_link(name, folder)
    return path


@interruptible("The download was interrupted, and nothing of it is kept.")
def download_extract(name: str, folder: str | None = None) -> str:
    """Fetches an archive, unpacks it beside itself, and returns the path of what it held.

    Args:
        name: A name in `DATA_HUB`, or a URL.
        folder: The folder in the archive to return; without it, the one that is named like the
            archive.

    Raises:
        DataError: If the archive does not hold that folder.
        DownloadError: If the archive cannot be fetched.

    Book: 5.7.1.
    """
    archive = Path(download(name))
    extract(archive)
    stem = archive.name.removesuffix(archive.suffix).removesuffix(".tar")
    path = archive.parent / (folder or stem)
    if not path.exists():
        near = ", ".join(sorted(entry.name for entry in archive.parent.iterdir())[:10])
        raise DataError(
            f"{archive} was unpacked, but there is no {folder or stem!r} in it. Name the folder "
            f"that you want as `folder`. In {archive.parent} there are: {near}."
        )
    return str(path)


@interruptible("The download was interrupted, and nothing of it is kept.")
def fetch(urls: Sequence[str], path: str | os.PathLike[str], verify: Verify | None = None) -> Path:
    """Makes sure that a good file is at `path`, from the first URL that can deliver it.

    The file comes into being at once and whole: it is written under another name in the same
    folder, verified, and renamed. Processes that fetch it at the same time do not meet. `verify`
    raises `DataError` if a file is not the right one.

    Raises:
        DownloadError: If no URL delivers the right file; every URL is listed with its reason, or
            all hosts with the one that they share. Also if the folder cannot be written, or
            `GRADBOOK_OFFLINE` is set.
    """
    path = Path(path)
    if path.is_file() and (verify is None or _passes(verify, path)):
        return path
    if is_offline():
        raise DownloadError(
            f"{path.name} is not downloaded, because the environment variable GRADBOOK_OFFLINE "
            f"is set."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    reasons = []
    for url in urls:
        reason = _fetch_one(url, path, verify)
        if reason is None:
            return path
        reasons.append(reason)
    if len(reasons) > 1 and len(set(reasons)) == 1:
        hosts = ", ".join(urlsplit(url).netloc for url in urls)
        raise DownloadError(f"{path.name} could not be downloaded from {hosts}: {reasons[0]}")
    lines = [f"  {url}: {reason}" for url, reason in zip(urls, reasons, strict=True)]
    raise DownloadError("\n".join([f"{path.name} could not be downloaded:", *lines]))


def _fetch_one(url: str, path: Path, verify: Verify | None) -> str | None:
    """Tries one URL; returns what went wrong, or None."""
    import requests  # slow to import, and needed here only

    host, start, reason = urlsplit(url).netloc, time.monotonic(), ""
    if host in _silent and start - _silent[host][0] < PATIENCE_SECONDS:
        return _silent[host][1]
    for attempt in range(1, NUM_ATTEMPTS + 1):
        part = part_of(path)
        try:
            _transfer(url, part, path.name)
            if verify is not None:
                verify(part)
            try:
                os.replace(part, path)
            except PermissionError:
                # Windows: another process has just put the same file there and reads it.
                if not path.is_file() or (verify is not None and not _passes(verify, path)):
                    raise
            return None
        except DataError as error:
            return str(error).replace(str(part), str(path))
        except requests.exceptions.RequestException as error:
            tries = f" ({attempt} times)" if attempt > 1 else ""
            reason = _reason(error) + tries
            broke_off = isinstance(error, requests.exceptions.ChunkedEncodingError)
            if not broke_off and not (part.exists() and part.stat().st_size > 0):
                # It never began, so it would not begin now.
                is_silent = isinstance(error, requests.exceptions.ConnectionError)
                if is_silent and time.monotonic() - start > 1:
                    _silent[host] = time.monotonic(), reason
                return reason
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            part.unlink(missing_ok=True)
    return reason


def _transfer(url: str, part: Path, name: str) -> None:
    """Writes what the URL delivers to the file `part`."""
    import requests

    headers = {"Accept-Encoding": "identity"}  # so that the sizes can be compared
    with (
        _progress(f"{name} from {urlsplit(url).netloc}") as tell,
        open(part, "wb") as file,
        requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers) as response,
    ):
        response.raise_for_status()
        promised = int(response.headers.get("Content-Length", 0))
        for chunk in response.iter_content(_CHUNK_BYTES):
            file.write(chunk)
            tell(file.tell(), promised or None)
    num_bytes = part.stat().st_size
    if num_bytes < promised:  # urllib3 before version 2 does not look
        raise requests.exceptions.ChunkedEncodingError(f"{num_bytes} of {promised} bytes came")
    if num_bytes == 0:
        raise CorruptFileError("the server sent an empty file")


@contextmanager
def _progress(text: str) -> Iterator[Callable[[int, int | None], None]]:
    """Gives what is told how many bytes came, of how many: a bar on a terminal, else one line."""
    if not sys.stderr.isatty():
        print(f"Downloading {text}", file=sys.stderr)
        yield lambda num_bytes, total: None
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task(text, total=None)
        try:
            yield lambda num_bytes, total: bar.update(task, completed=num_bytes, total=total)
        except BaseException:  # why it did not come is told, and no bar stays that stands still
            bar.update(task, visible=False)
            raise


def _reason(error: Exception) -> str:
    """A network error in a few words; the libraries' own texts nest four deep."""
    import requests

    text = str(error)
    response = getattr(error, "response", None)
    if isinstance(error, requests.exceptions.HTTPError) and response is not None:
        return f"HTTP {response.status_code} {response.reason}"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {TIMEOUT_SECONDS[0]:g} s"
    if isinstance(error, requests.exceptions.Timeout) or "Read timed out" in text:
        return f"no answer within {TIMEOUT_SECONDS[1]:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"the transfer broke off ({text})"
    for sign in ("Name or service", "NameResolutionError", "getaddrinfo", "nodename", "resolve"):
        if sign in text:
            return "the host's name could not be resolved; is there a network?"
    if "refused" in text:
        return "the connection was refused"
    return text


def _file_name(url: str) -> str:
    """The name of the file at a URL: one plain name, because it decides where we write."""
    with suppress(ValueError):  # no URL, or a name that no file can have
        parts = urlsplit(url)
        name = PureWindowsPath(unquote(parts.path)).name
        sound = name not in ("", "..") and "\0" not in name and parts.scheme in ("http", "https")
        if sound and len(os.fsencode(name)) <= _MAX_NAME_BYTES:
            return name
    raise ConfigError(
        f"{url!r} cannot be downloaded: it must begin with http:// or https:// and end in "
        f"the name of a file, of at most {_MAX_NAME_BYTES} bytes."
    )


def _sha1_check(expected: Any) -> Verify:
    if not isinstance(expected, str) or not re.fullmatch("[0-9a-fA-F]{40}", expected):
        raise ConfigError(
            f"sha1_hash must be a SHA-1 checksum of 40 hexadecimal digits, not {expected!r}."
        )
    return has_checksum("sha1", expected)


def has_checksum(kind: str, expected: str) -> Verify:
    """What `fetch` verifies a file with whose checksum is known.

    Args:
        kind: How it is computed, as `hashlib` names it: "sha1", "md5".
        expected: The checksum in hexadecimal digits.
    """

    def verify(path: Path) -> None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != expected.lower():
            name = {"sha1": "SHA-1", "md5": "MD5"}[kind]
            raise CorruptFileError(
                f"the checksum of {path} does not match: expected {name} {expected}, got {found}"
            )

    return verify


def _passes(verify: Verify, path: Path) -> bool:
    try:
        verify(path)
    except DataError:
        return False
    return True


def _unwritable(path: Path, error: OSError) -> DownloadError:
    return DownloadError(
        f"{path.name} cannot be written to the folder {path.parent}: "
        f"{error.strerror or error}. Choose a folder that can be written."
    )
