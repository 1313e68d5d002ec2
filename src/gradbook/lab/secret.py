"""The secret by which a server knows its user, kept in a file that nobody else can read."""

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

#: A secret as `secrets.token_urlsafe` makes them: 256 random bits.
_FORM = re.compile(r"[\w-]{43}", re.ASCII)


def secret_of(path: Path) -> str:
    """The secret in a file; a new one, which is kept there, if the file has none to be trusted.

    It stays the same from one start of the server to the next, so that a page finds the server
    again after it was started anew. Where it cannot be kept, it holds for one start.

    Args:
        path: The file. It is trusted if it is a file and no link, pipe or device, belongs to the
            user, and nobody else may read or write it.
    """
    with suppress(OSError):
        return _kept(path) or _made(path)
    return _new()


def _new() -> str:
    return secrets.token_urlsafe(32)


def _kept(path: Path) -> str | None:
    """The secret that the file holds; None if it is not there, or may be another's work."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        # Windows has no such owners and modes: there the user's profile is the user's alone.
        is_ours = os.name == "nt" or (
            status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077 == 0
        )
        text = stream.read(1 << 10).decode("ascii", "replace").strip()
    return text if is_ours and _FORM.fullmatch(text) else None


def _made(path: Path) -> str:
    """A new secret, after it was written to the file, which takes the place of what was there."""
    secret = _new()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        # Private from its first moment, and never through a link.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(secret.encode())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return secret
