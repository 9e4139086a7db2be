"""Escaping of untrusted text for its destination: a path, a CSV cell, Markdown, LaTeX, a terminal."""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Maximum bytes of a file name, leaving room for suffixes; file systems allow 255.
MAX_NAME = 150

#: Maximum number of marks of a letter that are normalised together, as in Unicode's stream-safe text format. No script has so many.
_MAX_MARKS = 30

#: A spreadsheet treats a cell that starts with one of these as a formula; some also accept the full-width forms.
_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20"
#: Where a spreadsheet may start a new cell: at the start of the text, and after a separator of cells or lines in any locale.
#: White space is ignored there, and so are invisible characters: control and format characters, including byte order marks.
#: They are only searched up to the next separator: a search from each of many tabs to the end would take quadratic time.
_UNSEEN = r"\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_CELL = re.compile(rf"(?P<before>(?:^|[;\t\r\n])(?:(?![\t\r\n])[{_UNSEEN}])*)(?P<quotes>'*)(?P<text>[{_FORMULA}][^;\t\r\n]*)")
#: Format characters that change the order in which text is shown.
_BIDIRECTIONAL = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can encode `text`. It cannot encode a lone surrogate, which Python uses for a byte of a file name that is not UTF-8."""
    return text == text.encode(errors="ignore").decode()


def path_name(text: str) -> str:
    """Return `text` as the name of a file or folder: letters, digits, ``.``, ``_`` and ``-``, no leading dot, at most `MAX_NAME` bytes.

    Letters and digits of any script are kept, so that names in other scripts than Latin differ. The end of a long name is replaced by a
    hash of the whole name, so that different long names stay different.
    """
    characters = (character if _is_of_a_word(character) else "\0" for character in _composed(text))
    name = re.sub("\0+", "-", "".join(characters)).lstrip(".") or "-"
    if len(name.encode()) <= MAX_NAME:
        return name
    return f"{name.encode()[: MAX_NAME - 9].decode(errors='ignore')}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _composed(text: str) -> str:
    """Compose letters and their accents into single characters where possible (NFC).

    This sorts the marks of a letter, which takes quadratic time: after `_MAX_MARKS`, a new sequence begins.
    """
    pieces, start, marks = [], 0, 0
    for place, character in enumerate(text):
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if marks > _MAX_MARKS:
            pieces.append(text[start:place])
            start, marks = place, 1
    return "".join(unicodedata.normalize("NFC", piece) for piece in [*pieces, text[start:]])


def _is_of_a_word(character: str) -> bool:
    """Whether a character is a letter, a digit, ``.``, ``_``, ``-``, or a mark, which some scripts use for vowels."""
    return character.isalnum() or character in "._-" or unicodedata.category(character).startswith("M")


def csv_cell(entry: object) -> object:
    """Put a quote before text that a spreadsheet would treat as a formula, and return any other value unchanged.

    Numbers do not change (``-1`` is a class of MUTAG), nor does a lone ``-``, which marks an empty cell. Several labels in a cell
    are checked one by one, since a spreadsheet may treat ``;`` as the end of a cell. An existing quote gets another one before it,
    so that `plain_cell` restores every text.
    """
    return _CELL.sub(_quoted, entry) if isinstance(entry, str) else entry


def plain_cell(entry: object) -> object:
    """The inverse of a single `csv_cell`, so a table must be made safe only once."""
    return _CELL.sub(_unquoted, entry) if isinstance(entry, str) else entry


def _quoted(found: re.Match[str]) -> str:
    return found[0] if _is_harmless(found["text"]) else f"{found['before']}'{found['quotes']}{found['text']}"


def _unquoted(found: re.Match[str]) -> str:
    return found[0] if _is_harmless(found["text"]) else f"{found['before']}{found['quotes'][1:]}{found['text']}"


def _is_harmless(text: str) -> bool:
    return text == "-" or _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip() and text.isascii()


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, its cells and its header safe for spreadsheets (see `csv_cell`)."""
    import pandas as pd

    safe = table.copy()
    for index, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(index, [csv_cell(entry) for entry in table.iloc[:, index]])
    return plain_csv(safe.rename(columns=csv_cell))


def plain_csv(table: pd.DataFrame) -> str:
    """A table as CSV, its cells unchanged.

    Pandas does not quote a lone carriage return, which readers would treat as the end of a line.
    """
    text: str = table.to_csv(index=False, lineterminator="\n")
    return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC) if "\r" in text else text


def markdown_text(text: str) -> str:
    """Escape text as one line of Markdown: no markup, HTML or table cell begins or ends in it."""
    return re.sub(r"([\\|*_`<>\[\]&~$#])", r"\\\1", " ".join(terminal_text(text).split()))


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": "$<$", ">": "$>$", "|": "$|$"},
    **{"±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$", "\u00b5": r"$\mu$"},
    **{character: character for character in "ßæøœłıÆØŒŁ"},
}
#: Accents that pdflatex supports in every font: grave, acute, circumflex, tilde, macron, breve, dot, diaeresis, ring, double acute,
#: caron and cedilla.
_ACCENTS = frozenset("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
#: Greek letters of LaTeX's math mode: it has no capitals that look like a Latin letter.
_GREEK = frozenset(
    (
        *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi", "rho"),
        *("sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
        *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
    )
)


def latex_text(text: str) -> str:
    """Escape text for LaTeX; characters that pdflatex cannot print become question marks (see `lost_in_latex`)."""
    return "".join(_latex(character) or "?" for character in _composed(text))


def lost_in_latex(text: str) -> list[str]:
    """The characters that `latex_text` replaces by question marks, each once."""
    return [character for character in dict.fromkeys(_composed(text)) if _latex(character) is None]


def _latex(character: str) -> str | None:
    """LaTeX that prints a character with pdflatex in a UTF-8 file; None if there is none."""
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii():
        return character if character.isprintable() else None
    parts = unicodedata.normalize("NFD", character)
    if character < "\u0180" and len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        return character
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", unicodedata.name(character, ""))
    if greek is None:
        return None
    name = greek[2].replace("LAMDA", "LAMBDA")
    name = name.lower() if greek[1] == "SMALL" else name.title()
    return f"$\\{name}$" if name in _GREEK else None


def latex_label(text: str) -> str:
    r"""`text` as the argument of ``\label`` and ``\ref``: letters, digits, ``:``, ``.`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9:.-]+", "-", text)


def terminal_text(text: str) -> str:
    r"""Escape characters that control a terminal, such as the escape sequence that sets its title: they are shown as ``\x1b``.

    Line ends and tabs do not change. Characters that cannot be encoded, as in a file name of another encoding, are also escaped.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t" or (unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and character not in _BIDIRECTIONAL):
        return character
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 0xFF else f"\\x{ord(character):02x}"
