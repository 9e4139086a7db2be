"""Formulas as MathML, which browsers show without a script, so that pages can be read offline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.writers.html5 import HTML5Translator

#: Replacements of commands that the converter does not support: MathML's delimiters grow automatically.
_REPLACED = ((r"\\[bB]igg?[lrm]?(?=\\)", ""), (r"\\arg\\max", r"\\mathrm{arg\\,max}"), ("'", "\\\\text{\u2032}"))


def as_mathml(tex: str, display: str = "inline") -> str:
    """Convert a TeX formula to a MathML element.

    Raises:
        ValueError: an unsupported TeX command.
    """
    from latex2mathml.converter import convert

    for pattern, replacement in _REPLACED:
        tex = re.sub(pattern, replacement, tex)
    element = str(convert(tex, display=display))
    left = re.search(r"\\[A-Za-z]+", element)
    if left is not None:
        raise ValueError(f"The formula {tex!r} cannot be converted: {left[0]} is not supported. Use another command.")
    return element


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(as_mathml(node.astext()))
    raise nodes.SkipNode


def _display(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math") + as_mathml(node.astext(), "block") + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
