"""Text that may come from an untrusted file, made safe for where it goes: a path, a CSV cell, Markdown, LaTeX, a terminal."""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of a file name that leave room for endings; file systems allow 255.
MAX_NAME = 150

#: Marks of one letter that are read together, as in Unicode's stream-safe text format. No script has so many.
_MAX_MARKS = 30

#: A cell that starts with one of these is a formula to a spreadsheet; some take the full-width forms, too.
_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20"
#: Where a spreadsheet may start a new cell: at the start of the text, and after what separates cells or lines somewhere in the world.
#: Space does not count there, nor do characters that nobody sees: of control and of format, byte order marks among them.
#: They are looked through up to the next separator only: a search from each of many tabs to the end of all would take quadratic time.
_UNSEEN = r"\s\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_CELL = re.compile(rf"(?P<before>(?:^|[;\t\r\n])(?:(?![\t\r\n])[{_UNSEEN}])*)(?P<quotes>'*)(?P<text>[{_FORMULA}][^;\t\r\n]*)")
#: Format characters that change the order in which text is shown.
_BIDIRECTIONAL = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_unicode(text: str) -> bool:
    """Whether UTF-8 has bytes for `text`. It has none for half a surrogate pair, which is how Python reads a byte of a file's name that is
    not UTF-8."""
    return text == text.encode(errors="ignore").decode()


def path_name(text: str) -> str:
    """`text` as the name of one file or folder: letters, digits, ``.``, ``_`` and ``-``, no leading dot, at most `MAX_NAME` bytes.

    Letters and digits are those of any script: names in one that is not Latin would all be the same. What is cut off a long name is
    replaced by a hash of all of it, so that different long names stay different.
    """
    kept = (character if _is_of_a_word(character) else "\0" for character in _composed(text))
    name = re.sub("\0+", "-", "".join(kept)).lstrip(".") or "-"
    if len(name.encode()) <= MAX_NAME:
        return name
    return f"{name.encode()[: MAX_NAME - 9].decode(errors='ignore')}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _composed(text: str) -> str:
    """Letters with their accents as one character each, where there is one (NFC).

    The marks of a letter are put into order for that, which takes quadratic time: after `_MAX_MARKS` a new sequence begins.
    """
    pieces, start, marks = [], 0, 0
    for place, character in enumerate(text):
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if marks > _MAX_MARKS:
            pieces.append(text[start:place])
            start, marks = place, 1
    return "".join(unicodedata.normalize("NFC", piece) for piece in [*pieces, text[start:]])


def _is_of_a_word(character: str) -> bool:
    """Letters and digits, ``.``, ``_`` and ``-``, and the marks that some scripts write vowels with."""
    return character.isalnum() or character in "._-" or unicodedata.category(character).startswith("M")


def csv_cell(entry: object) -> object:
    """Text in which a spreadsheet would find a formula, with a quote before it; anything else as it is.

    A number stays, ``-1`` is a class of MUTAG; so does a lone ``-``, which stands where there is nothing to say. Several labels in one cell
    are looked at one by one, since a spreadsheet may take ``;`` for the end of a cell. Where there is a quote already, another one comes
    before it, so that `plain_cell` gives every text back.
    """
    return _CELL.sub(_quoted, entry) if isinstance(entry, str) else entry


def plain_cell(entry: object) -> object:
    """The text that `csv_cell` has made safe; anything else as it is. It undoes one `csv_cell`, so a table is made safe once."""
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
    """A table as CSV, its cells as they are.

    Pandas leaves a lone carriage return without quotes, and readers would take it for the end of a line.
    """
    text: str = table.to_csv(index=False, lineterminator="\n")
    return table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC) if "\r" in text else text


def markdown_text(text: str) -> str:
    """Any text as one line of Markdown that shows it: no markup, HTML or table cell begins or ends in it."""
    return re.sub(r"([\\|*_`<>\[\]&~$#])", r"\\\1", " ".join(terminal_text(text).split()))


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": "$<$", ">": "$>$", "|": "$|$"},
    **{"±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$", "\u00b5": r"$\mu$"},
    **{character: character for character in "ßæøœłıÆØŒŁ"},
}
#: Accents that every font of pdflatex can have: grave, acute, circumflex, tilde, macron, breve, dot, diaeresis, ring, double acute,
#: caron and cedilla.
_ACCENTS = frozenset("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327")
#: Greek letters that LaTeX's mathematics has: the capitals are those that look like no Latin letter.
_GREEK = frozenset(
    (
        *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi", "rho"),
        *("sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
        *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"),
    )
)


def latex_text(text: str) -> str:
    """Any text as LaTeX that prints it; characters that pdflatex has no letter for become question marks (see `lost_in_latex`)."""
    return "".join(_latex(character) or "?" for character in _composed(text))


def lost_in_latex(text: str) -> list[str]:
    """The characters that `latex_text` makes question marks of, each once."""
    return [character for character in dict.fromkeys(_composed(text)) if _latex(character) is None]


def _latex(character: str) -> str | None:
    """What prints a character with pdflatex, whose files are UTF-8; None where nothing does."""
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
    r"""Text without characters that control a terminal, such as the escape that sets its title; they are shown as ``\x1b``.

    Line ends and tabs stay. What cannot be encoded, as in the name of a file in another encoding, is shown likewise.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in "\n\t" or (unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and character not in _BIDIRECTIONAL):
        return character
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 0xFF else f"\\x{ord(character):02x}"
