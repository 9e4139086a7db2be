"""Checks of paths from users, and of paths that must not contain links."""

from __future__ import annotations

import os
import re
import shlex
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


def utf8_path(path: Path) -> str:
    """Return an absolute path as text that can be written to a file.

    Raises:
        UsageError: a name in it is not UTF-8.
    """
    refused = next((part for part in reversed((path, *path.parents)) if not is_unicode(part.name)), None)
    if refused is not None:
        typed = "".join(chr(byte) if re.match(rb"[\w./-]", bytes([byte])) else f"\\x{byte:02x}" for byte in os.fsencode(refused))
        raise UsageError(
            f"The path {str(path)!r} cannot be kept in a configuration: {refused.name!r} in it is not a name in UTF-8. Rename it, for "
            f"example with mv $'{typed}' {shlex.quote(str(refused.with_name(path_name(refused.name))))}"
        )
    return str(path)


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
