"""Text on its way into a CSV file that a spreadsheet may open."""

from __future__ import annotations

#: What a spreadsheet takes for the start of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def defuse(entry: object) -> object:
    """Text that a spreadsheet would take for a formula, with a quote before it.

    A number stays, ``-1`` is a class of MUTAG; so does a lone ``-``, which stands where there is nothing to say.
    """
    return f"'{entry}" if isinstance(entry, str) and entry.startswith(_FORMULA) and not _is_harmless(entry) else entry


def _is_harmless(text: str) -> bool:
    if text == "-":
        return True
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
