"""Opening what people name as a file without ever blocking, and writing files that are whole or not there.

Pipes, devices and sockets are refused before they are opened. Stdlib only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import IO

from anyany.media.errors import MediaError
from anyany.media.limits import Limits, human

_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_file(path: str | os.PathLike[str], limits: Limits = Limits()) -> tuple[str, int]:  # noqa: B008
    """(absolute path, size in bytes) of a regular file that is there and within the limit on bytes.

    Raises MediaError otherwise; the message names the path as it was given.
    """
    given = os.fspath(path)
    try:
        info = os.stat(given)
    except (OSError, ValueError) as error:
        raise _stat_error(given, error) from error
    if stat.S_ISDIR(info.st_mode):
        raise MediaError("E502", "this is a folder, not a file", "name a file inside it", given)
    for test, what in _SPECIAL:
        if test(info.st_mode):
            raise MediaError("E503", f"this is {what}, not a file", "copy its content into a file first", given)
    if info.st_size > limits.bytes:
        message = f"the file has {human(info.st_size)}; the limit is {human(limits.bytes)}"
        raise MediaError("E510", message, "use a smaller file, or raise the limit on bytes", given)
    return os.path.abspath(given), info.st_size


def _stat_error(path: str, error: OSError | ValueError) -> MediaError:
    if isinstance(error, OSError):
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return MediaError("E501", "no such file", _nearby(path), path)
        if error.errno == errno.ELOOP:
            return MediaError("E501", "the link leads back to itself", "mend the link", path)
        if error.errno == errno.EACCES:
            return MediaError("E504", "a folder on the way may not be entered", "check its permissions", path)
        if error.errno == errno.ENAMETOOLONG:
            return MediaError("E527", "the path is too long to be a file's", "check the value given", path[:60] + "…")
        return MediaError("E504", f"the file cannot be reached ({_reason(error)})", "check the disk and the path", path)
    return MediaError("E527", "the path holds a zero byte", "check the value given", path.replace("\0", "\\0")[:80])


def _nearby(path: str) -> str:
    """What to do about a missing file: where it was looked for, or a name in that folder that is much like
    it.
    """
    import difflib

    full = os.path.abspath(path)
    if os.path.islink(full):
        return f"the link points to {os.readlink(full)}, which is not there"
    folder, name = os.path.split(full)
    if not os.path.isdir(folder):
        return f"there is no folder {folder}"
    with contextlib.suppress(OSError):
        close = difflib.get_close_matches(name, os.listdir(folder)[:5000], n=1, cutoff=0.7)
        if close:
            return f"did you mean {close[0]}?"
    return f"looked in {folder}"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def open_file(path: str | os.PathLike[str], limits: Limits = Limits()) -> IO[bytes]:  # noqa: B008
    """The file opened for reading bytes. Raises MediaError as `check_file` does, or where it may not be
    read.
    """
    full, _ = check_file(path, limits)
    try:
        return open(full, "rb")
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str | os.PathLike[str], error: OSError) -> MediaError:
    """The error for a file that is there but does not let itself be read."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return MediaError("E504", "the file may not be read", "check its permissions", os.fspath(path))
    return MediaError("E504", f"the file cannot be read ({_reason(error)})", "check the disk", os.fspath(path))


def read_head(path: str | os.PathLike[str], limits: Limits = Limits(), count: int = 4096) -> bytes:  # noqa: B008
    """The first bytes of a file that is not empty. Raises MediaError."""
    with open_file(path, limits) as file:
        try:
            head = file.read(count)
        except OSError as error:
            raise unreadable(path, error) from error
    if not head:
        raise MediaError("E505", "the file is empty", "give a file with content", os.fspath(path))
    return head


def read_all(path: str | os.PathLike[str], limits: Limits = Limits()) -> bytes:  # noqa: B008
    """All bytes of a file that is not empty. Raises MediaError."""
    with open_file(path, limits) as file:
        try:
            data = file.read(limits.bytes + 1)
        except OSError as error:
            raise unreadable(path, error) from error
    if not data:
        raise MediaError("E505", "the file is empty", "give a file with content", os.fspath(path))
    if len(data) > limits.bytes:  # it grew while it was read
        raise MediaError("E510", "the file grows while it is read", "wait until it is written", os.fspath(path))
    return data


@contextlib.contextmanager
def atomic(path: str) -> Iterator[str]:
    """A temporary name in the folder of `path` to write to; renamed to it at the end, removed on failure.

    Makes the folder. Raises MediaError where the disk refuses.
    """
    folder, name = os.path.split(os.path.abspath(path))
    stem, suffix = os.path.splitext(name)
    temporary = os.path.join(folder, f".{stem[:80]}.{os.getpid()}.{os.urandom(4).hex()}{suffix}")
    try:
        os.makedirs(folder, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise MediaError("E523", f"it could not be written ({_reason(error)})", _writing_help(error), path) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _writing_help(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full: free some space, or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "this folder may not be written to: write elsewhere"
    return "check the output folder"
