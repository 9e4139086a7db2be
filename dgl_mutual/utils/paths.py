"""Checks of paths from users, and of paths that must not contain links."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from dgl_mutual.errors import StoreError, UsageError
from dgl_mutual.utils.safe_text import is_unicode, path_name
from dgl_mutual.utils.wording import value_and_kind


def user_path(text: str | Path) -> Path:
    """Return a path from the user with ``~`` expanded. It need not exist.

    Raises:
        UsageError: not a path, no such user, an invalid name, or no access to the parent folder.
    """
    if not isinstance(text, str | os.PathLike):
        raise UsageError(f"Expected a path, found {value_and_kind(text)}.")
    if text == "":
        raise UsageError("The path is empty. Give a file or folder, or '.' for the working folder.")
    shown = str(text) if len(str(text)) <= 80 else f"{str(text)[:80]}..."
    try:
        path = Path(text).expanduser()
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return path
    except RuntimeError:
        raise UsageError(f"The path {shown!r} names the home of a user who does not exist here. Write the path out.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero character in the name
        raise UsageError(f"The path {shown!r} cannot be used ({getattr(error, 'strerror', None) or error}). Correct it.") from None
    return path


def check_working_folder() -> None:
    """Check that the working folder exists: libraries would fail in their own words.

    Raises:
        StoreError: it was removed.
    """
    try:
        os.getcwd()
    except OSError:
        raise StoreError("The working folder of this process no longer exists. Change to another folder.") from None


def utf8_path(path: Path) -> str:
    """Return an absolute path as text that can be written to a file.

    Raises:
        UsageError: a name in it is not UTF-8, or Python would read it wrongly (see `misread_names`).
    """
    misread = misread_names(path)
    if misread is not None:
        raise UsageError(f"The path {str(path)!r} cannot be kept in a configuration: {misread}")
    refused = next((part for part in reversed((path, *path.parents)) if not is_unicode(part.name)), None)
    if refused is not None:
        typed = "".join(chr(byte) if re.match(rb"[\w./-]", bytes([byte])) else f"\\x{byte:02x}" for byte in os.fsencode(refused))
        raise UsageError(
            f"The path {str(path)!r} cannot be kept in a configuration: {refused.name!r} in it is not a name in UTF-8. Rename it, for "
            f"example with mv $'{typed}' {shlex.quote(str(refused.with_name(path_name(refused.name))))}"
        )
    return str(path)


def misread_names(path: Path) -> str | None:
    """Why Python may read the names in a path wrongly, and a mend; None if it reads them right."""
    encoding = sys.getfilesystemencoding()
    if str(path).isascii() or encoding == "utf-8":
        return None
    return (
        f"Python takes names of files for {encoding}, from the locale or PYTHONUTF8=0, and they are UTF-8 nearly everywhere. Set the "
        "environment variable PYTHONUTF8=1."
    )


def refuse_links(path: Path, within: Path) -> None:
    """Check that there is no link between the folder `within` and `path` below it.

    Raises:
        StoreError: there is a link; files would be written to its target.
    """
    for part in (path, *path.parents):
        if part == within:
            return
        if part.is_symlink():
            raise StoreError(
                f"{str(part)!r} is a link, and what is written there would be outside {str(within)!r}. Put a folder in its place, or "
                "choose another folder."
            )
