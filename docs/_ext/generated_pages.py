"""Pages that are generated from the package before the site is built: options, strategies, columns and licences.

They are written to docs/generated/, which is not under version control.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def options_page() -> str:
    """Every option of runs, students, training, distillation and weightings."""
    from dgl_mutual.experiments.configuration.config import RunConfig
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
            _description(kind),
            _table(kind.Options) if kind.Options.model_fields else "It has no options.",
        ]
    parts += ["Options of each strategy are on the [page of strategies](strategies.md)."]
    return "\n\n".join(parts)


def strategies_page(maths: Path) -> str:
    """Every strategy: its loss, source, notes and options."""
    from dgl_mutual.experiments import option_table
    from dgl_mutual.experiments.strategy_table import options_of
    from dgl_mutual.strategies import BASELINES, STRATEGIES

    parts = ["# Strategies", (maths / "introduction.md").read_text(encoding="utf-8")]
    for name, kind in {**STRATEGIES, **BASELINES}.items():
        citation = kind.citation
        formula = maths / f"{name}.md"
        source = f"Source: {citation.authors}. [{citation.title}]({citation.url}). {citation.venue}."
        parts += [f"({name})=", f"## {name}", source if citation.url.startswith("http") else f"{citation.title}."]
        if formula.is_file():
            parts.append(formula.read_text(encoding="utf-8"))
        parts += [_description(kind), *_options(option_table.as_markdown, options_of(kind))]
    return "\n\n".join(parts)


def columns_page() -> str:
    """The columns of the CSV files."""
    from dgl_mutual.store import columns

    files = [
        ("trials.csv", columns.TRIALS, "One row per seed, fold and member. Every number of tables and figures is computed from it."),
        ("summary.csv", columns.SUMMARY, "One row per member and part of the split, over all trials."),
        ("history.csv", columns.HISTORY, "One row per trial and epoch."),
        ("reliability.csv", columns.RELIABILITY, "One row per trial, metric, member and bin of confidence that is not empty."),
        ("inference.csv", columns.INFERENCE, "One row per member of one trial, written by `dgl-mutual time-inference`."),
        ("failures.csv", columns.FAILURES, "One row per trial that failed; the file is only there if one did."),
        ("all.csv of a suite", columns.SUITE, "All trials of a suite: these columns, then those of `trials.csv`."),
    ]
    parts = ["# Columns of the CSV files", "A run is a folder `results/<task>-<dataset>-<strategy>-<hash>/` with these tables."]
    for title, meanings, what in files:
        rows = [f"| `{name}` | {meaning} |" for name, meaning in meanings.items()]
        parts += [f"## {title}", what, "\n".join(["| column | meaning |", "|---|---|", *rows])]
    return "\n\n".join(parts)


def licences_page() -> str:
    """The licences of the dependencies, from their metadata."""
    import importlib.metadata

    from packaging.requirements import Requirement

    lines: dict[str, set[str]] = {}
    for requirement in map(Requirement, importlib.metadata.requires("dgl-mutual") or ()):
        extras = re.findall(r'extra == "([^"]+)"', str(requirement.marker or ""))
        lines.setdefault(requirement.name.lower(), set()).update(extras or {"always"})
    rows = []
    for name, extras in sorted(lines.items()):
        needed = "always" if "always" in extras else ", ".join(sorted(extras))
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            rows.append(f"| {name} | - | not installed where this page was built | {needed} |")
            continue
        rows.append(f"| {metadata['Name']} | {metadata['Version']} | {licence_of(metadata)} | {needed} |")
    text = (
        "dgl_mutual has the MIT licence. The packages below are not part of it: pip installs them. Their licences are those in the "
        "metadata of the installed packages."
    )
    return "\n\n".join(["# Licences", text, "\n".join(["| package | version | licence | needed for |", "|---|---|---|---|", *rows])])


def licence_of(metadata: Any) -> str:
    """The expression, else the classifiers, else the first line of the licence field."""
    classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier") or () if line.startswith("License :: ")]
    classified = ", ".join(name for name in classifiers if name != "OSI Approved")
    field = (metadata.get("License") or "").strip().splitlines()
    licence = metadata.get("License-Expression") or classified or (field[0] if field else "")
    return licence.replace("|", "\\|") or "not stated; see the package"


def _description(kind: Any) -> str:
    """The docstring of a class with one line per paragraph, which the page wraps."""
    lines = re.sub(r"\n(?=NOTE\[)", "\n\n", inspect.getdoc(kind) or "")
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", lines)]
    return "```text\n{}\n```".format("\n\n".join(paragraphs).replace("``", "`"))


def _options(as_markdown: Any, options: list[Any]) -> list[str]:
    return ["Options (`--set strategy_options.KEY=VALUE`):", as_markdown(options)] if options else ["It has no options."]


def _table(kind: Any) -> str:
    from dgl_mutual.experiments.option_table import as_markdown, describe

    return as_markdown(describe(kind))


def write_pages(app: Sphinx) -> None:
    """Write the pages whose text has changed, so that only these are rebuilt."""
    folder = Path(app.srcdir) / "generated"
    folder.mkdir(exist_ok=True)
    pages = {
        "columns": columns_page(),
        "licences": licences_page(),
        "options": options_page(),
        "strategies": strategies_page(Path(app.srcdir) / "maths"),
    }
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.is_file() or file.read_text(encoding="utf-8") != f"{text}\n":
            file.write_text(f"{text}\n", encoding="utf-8")


def escape_sizes(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Escape |V| in docstrings, which is a number of nodes, not a substitution of reStructuredText."""
    lines[:] = [re.sub(r"\|(?=[A-Z]\|)|(?<=\|[A-Z])\|", r"\\|", line) for line in lines]


def one_attribute_each(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Split entries ``a, b: text`` of attribute sections, which Sphinx reads as an attribute "a (b,)", into one entry per attribute."""
    written: list[str] = []
    inside, place = False, 0
    while place < len(lines):
        line, place = lines[place], place + 1
        inside = line.strip() in ("Attributes:", "Class attributes:") or (inside and (line.startswith(" ") or not line.strip()))
        entry = re.match(r"(\s+)(\w+(?:, \w+)+): (.*)", line) if inside else None
        if entry is None:
            written.append(line)
            continue
        more = []
        while place < len(lines) and lines[place].startswith(f"{entry[1]} "):
            more.append(lines[place])
            place += 1
        for attribute in entry[2].split(", "):
            written += [f"{entry[1]}{attribute}: {entry[3]}", *more]
    lines[:] = written


def examples_as_code(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Format the examples in a command's help, which click marks by a line of \\b, as code blocks."""
    written: list[str] = []
    for line in lines:
        example = re.match(r"\|\s(\s+\S.*)", line)
        title = re.match(r"\|\s(\S.*)", line)
        if title is not None:
            written += [f"{title[1].rstrip(':')}:", "", ".. code-block:: console", ""]
        elif example is not None:
            written.append(f"   $ {example[1].strip()}")
        else:
            written.append(line)
    lines[:] = written


def options_as_code(app: Sphinx, context: Any, lines: list[str]) -> None:
    """Format options in a command's help as code, to keep their two hyphens, and default paths without their class."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((".. option::", "$ ", ":default:")):
            line = re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"``\1``", line)
        lines[number] = re.sub(r"(?:Posix|Windows|)Path\('(.*?)'\)", r"\1", line)


def plain_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Show type aliases in signatures by name, also in unions."""
    plain = [None if text is None else re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returned)]
    return plain[0], plain[1]


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", one_attribute_each, priority=100)
    app.connect("autodoc-process-docstring", escape_sizes)
    app.setup_extension("sphinx_click")
    app.connect("sphinx-click-process-description", examples_as_code)
    for part in ("description", "options"):
        app.connect(f"sphinx-click-process-{part}", options_as_code)
    app.connect("autodoc-process-signature", plain_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
