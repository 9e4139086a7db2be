"""Tables of strategies and of their options, made from the classes."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.experiments import option_table
from dgl_mutual.experiments.option_table import Option, markdown_cell
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import BASELINES, STRATEGIES, STRATEGY_REGISTRY
from dgl_mutual.strategies.base.citation import Citation
from dgl_mutual.strategies.base.options import StrategyOptions, Unlabelled, resolved_options
from dgl_mutual.strategies.base.strategy import Strategy
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.utils.custom_code import is_custom
from dgl_mutual.utils.wording import pipe_table
from dgl_mutual.weightings import WEIGHTINGS

_BUILT_IN = {**STRATEGIES, **BASELINES}


def as_text() -> str:
    """Format the strategies as text, one paragraph each: built-in ones, then those of installed packages, which are not imported."""
    paragraphs = list(_paragraphs())
    width = 2 + max(len(name) for name, *_ in paragraphs)
    return "\n\n".join(
        "\n".join((f"{name:<{width}}{first}", *(f"{'':<{width}}{line}" for line in rest))) for name, first, *rest in paragraphs
    )


def as_markdown() -> str:
    """Format the strategies as the Markdown table of the README, one row each."""
    rows = []
    for name, strategy_class in _BUILT_IN.items():
        citation = strategy_class.citation
        source = _link(citation) if citation.url.startswith("http") else citation.title
        rows.append([f"`{name}`", f"`{markdown_cell(citation.formula)}`", source])
    rows += [[f"`{plug_in.name}`", "-", markdown_cell(origin)] for plug_in, origin in STRATEGY_REGISTRY.listed_plug_ins()]
    return pipe_table(["name", "loss of student i", "source"], rows)


def describe(name: str, width: int = 80) -> str:
    """Describe one strategy: its loss, its source, and the meaning, values and default of each option.

    Args:
        name: a built-in strategy, a strategy of an installed package, or an import path ``package.module:Class``.

    Raises:
        UsageError: there is no such strategy.
    """
    item = STRATEGY_REGISTRY.find(name)
    strategy_class = item.value
    citation = _citation(strategy_class)
    origin = [] if item.origin == "built in" else [f"from {item.origin}"]
    head = "\n".join([strategy_class.name, *(_source(citation) if citation else []), *_derived(strategy_class), *origin])
    options = options_of(strategy_class)
    table = ["Options (--set strategy_options.NAME=VALUE)", option_table.as_text(options, width)] if options else ["It has no options."]
    if "weighting_options" in strategy_class.Options.model_fields:
        table += [
            "",
            "Weightings (--set strategy_options.weighting=NAME), and their options (strategy_options.weighting_options.NAME=VALUE)",
        ]
        table += [
            f"{name}: {_first_line(weighting)}\n{_indented(option_table.describe(weighting.Options), width)}"
            for name, weighting in WEIGHTINGS.items()
        ]
    text = inspect.cleandoc(strategy_class.__doc__ or "").replace("``", "")
    return "\n\n".join(part for part in (head, text, "\n".join(line.rstrip() for line in table)) if part)


def _indented(options: list[Option], width: int) -> str:
    return textwrap.indent(option_table.as_text(options, width - 4), "    ")


def options_as_markdown(name: str) -> str:
    """Format the options of one strategy as a Markdown table."""
    return option_table.as_markdown(options_of(STRATEGY_REGISTRY.resolve(name)))


def options_of(strategy_class: type[Strategy]) -> list[Option]:
    """The options of a strategy. Defaults that differ between node and graph tasks, or with hidden labels, are all given."""
    options = strategy_class.Options

    def resolve(task: TaskName, is_hidden: bool) -> StrategyOptions:
        made = parse_options(options, {})
        return resolved_options(made, TrainingOptions().epochs, task, Unlabelled() if is_hidden else None)

    return option_table.describe(options, resolve)


def _paragraphs() -> Iterator[tuple[str, ...]]:
    for name, strategy_class in _BUILT_IN.items():
        yield name, strategy_class.citation.formula, *_source(strategy_class.citation), "built in"
    for plug_in, origin in STRATEGY_REGISTRY.listed_plug_ins():
        yield plug_in.name, origin


def _link(citation: Citation) -> str:
    return f"[{citation.authors}, {citation.venue}]({citation.url})"


def _citation(strategy_class: type[Strategy]) -> Citation | None:
    """The source of a strategy. A custom strategy does not inherit it, since its loss may differ from that of its base."""
    return vars(strategy_class).get("citation") if is_custom(strategy_class) else strategy_class.citation


def _derived(strategy_class: type[Strategy]) -> list[str]:
    """A line that names the built-in base of a custom strategy without a citation; empty for all others."""
    if _citation(strategy_class) is not None:
        return []
    return [
        f"derived from {base.name}"
        for base in strategy_class.__mro__
        if issubclass(base, Strategy) and not is_custom(base) and hasattr(base, "citation")
    ][:1]


def _source(citation: Citation) -> list[str]:
    if not citation.url.startswith("http"):
        return [citation.title]
    return [f"{citation.authors}: {citation.title}. {citation.venue}", citation.url]


def _first_line(weighting: type[object]) -> str:
    why = " (docstrings are removed by PYTHONOPTIMIZE or -OO)" if sys.flags.optimize > 1 else ""
    return (weighting.__doc__ or f"no description{why}").strip().splitlines()[0]
