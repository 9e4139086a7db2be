"""Import of matplotlib, which is optional and reads the user's settings during its import."""

from __future__ import annotations

import os
from types import ModuleType

from dgl_mutual.errors import UsageError
from dgl_mutual.utils.environment_variables import SOURCE_DATE, has_wrong_source_date, shown_values


def import_matplotlib() -> ModuleType:
    """Return the package matplotlib.

    Raises:
        UsageError: it is not installed, or the user's settings or environment are invalid.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise UsageError("Plots need matplotlib, which is not installed. Install it: pip install 'dgl-mutual[plot]'") from None
    except (ValueError, OSError) as error:
        raise UsageError(f"matplotlib cannot be imported with these settings of it: {error!s:.300}. {_fix(error)}") from None
    if has_wrong_source_date():
        raise UsageError(
            f"matplotlib cannot date figures: {shown_values([SOURCE_DATE])} is not a date. Give whole seconds since 1970, or remove the "
            f"environment variable: unset {SOURCE_DATE}"
        )
    return matplotlib


def _fix(error: ValueError | OSError) -> str:
    backend = os.environ.get("MPLBACKEND")
    if backend and not isinstance(error, UnicodeDecodeError | OSError):
        return f"The environment variable MPLBACKEND is {backend[:80]!r}: correct it, or remove it with 'unset MPLBACKEND'."
    return (
        "Correct its file matplotlibrc, which has to be UTF-8, or move it away: in the working folder, where the environment's "
        "MATPLOTLIBRC or MPLCONFIGDIR says, or in the folder matplotlib of ~/.config or of XDG_CONFIG_HOME."
    )
