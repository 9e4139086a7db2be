"""Pages that are made from the package itself before the site is built: options, strategies, columns and licences.

They are written to docs/generated/, which is not under version control.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def options_page() -> str:
    """Every option of runs, students, training, distillation and weightings."""
    from dgl_mutual.experiments.config import RunConfig
    from dgl_mutual.nn.options import StudentOptions
    from dgl_mutual.training.options import DistillOptions, TrainingOptions
    from dgl_mutual.weightings import WEIGHTINGS

    groups = [
        ("Run", RunConfig, "`KEY: VALUE` at the top of a configuration; `--set KEY=VALUE`."),
        ("Students", StudentOptions, "`--set student.KEY=VALUE` for all students, or per student in `students`."),
        ("Training", TrainingOptions, "`--set training.KEY=VALUE`."),
        ("Distillation", DistillOptions, "`--set distill.KEY=VALUE`, with `dgl-mutual distill`."),
    ]
    parts = [
        "# Options of runs, students and training",
        "`null` stands for the default of the task or dataset, which the last column states.",
    ]
    for title, kind, how in groups:
        parts += [f"## {title}", f"{how} {inspect.cleandoc(kind.__doc__ or '').splitlines()[0]}", _table(kind)]
    parts += [
        "## Weightings",
        "How `gml` weighs the peers: `--set strategy_options.weighting=NAME`, `--set strategy_options.weighting_options.KEY=VALUE`.",
    ]
    for name, kind in WEIGHTINGS.items():
        parts += [
            f"### {name}",
            f"```text\n{inspect.getdoc(kind)}\n```",
            _table(kind.Options) if kind.Options.model_fields else "It has no options.",
        ]
    parts += ["Options of each strategy are on the [page of strategies](strategies.md)."]
    return "\n\n".join(parts)


def strategies_page(maths: Path) -> str:
    """Every strategy: its loss, source, notes and options."""
    from dgl_mutual.experiments import option_table
    from dgl_mutual.experiments.strategy_table import options_of
    from dgl_mutual.strategies import STRATEGIES

    parts = ["# Strategies", (maths / "introduction.md").read_text(encoding="utf-8")]
    for name, kind in STRATEGIES.items():
        citation = kind.citation
        source = (
            citation.title
            if not citation.url.startswith("http")
            else f"{citation.authors}. [{citation.title}]({citation.url}). {citation.venue}."
        )
        formula = maths / f"{name}.md"
        source = f"Source: {citation.authors}. [{citation.title}]({citation.url}). {citation.venue}."
        parts += [f"({name})=", f"## {name}", source if citation.url.startswith("http") else f"{citation.title}."]
        if formula.is_file():
            parts.append(formula.read_text(encoding="utf-8"))
        parts += [f"```text\n{inspect.getdoc(kind)}\n```", *_options(option_table.as_markdown, options_of(kind))]
    return "\n\n".join(parts)


def _options(as_markdown: Any, options: list[Any]) -> list[str]:
    return ["Options (`--set strategy_options.KEY=VALUE`):", as_markdown(options)] if options else ["It has no options."]


def _table(kind: Any) -> str:
    from dgl_mutual.experiments.option_table import as_markdown, describe

    return as_markdown(describe(kind))


def write_pages(app: Sphinx) -> None:
    """Write each page whose text has changed, so that only those are built again."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    pages = {"options": options_page(), "strategies": strategies_page(Path(app.srcdir) / "maths")}
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.is_file() or file.read_text(encoding="utf-8") != f"{text}\n":
            file.write_text(f"{text}\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
