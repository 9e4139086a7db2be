"""All architectures by name, and custom students by import path, entry point (group ``dgl_mutual.students``) or class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
from torch import nn

from dgl_mutual.data.values.target import TaskName
from dgl_mutual.errors import UsageError
from dgl_mutual.nn.convolutions import CONVOLUTIONS, Convolution
from dgl_mutual.nn.dgl_layers import DGL_LAYERS
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.nn.structure_free import STRUCTURE_FREE
from dgl_mutual.registry import Registry
from dgl_mutual.utils.python_compat import is_class
from dgl_mutual.utils.wording import kind_of

ARCHITECTURES: dict[str, type[Convolution]] = {**CONVOLUTIONS, **DGL_LAYERS, **STRUCTURE_FREE}

_FORM = "Give a class or function (in_features, num_outputs) that returns a torch.nn.Module."


def _fault(value: Any) -> str | None:
    if isinstance(value, nn.Module):
        return f"is an instance, and each seed needs new weights. {_FORM}"
    if not callable(value):
        return f"is not a class or function but {kind_of(value)}. {_FORM}"
    if is_class(value) and not issubclass(value, nn.Module):
        return f"is not a subclass of torch.nn.Module. {_FORM}"
    return None


#: Plain types of parameters, the types of accepted values, and their name in messages.
_PLAIN_TYPES: tuple[tuple[type, tuple[type, ...], str], ...] = (
    (int, (Integral,), "an integer"),
    (float, (Real,), "a number"),
    (str, (str,), "a string"),
    (bool, (bool, np.bool_), "true or false"),
)

#: Finds the convolution of a built-in architecture, or the class or function of a custom student.
STUDENT_REGISTRY: Registry[Callable[..., Any]] = Registry("student", ARCHITECTURES, _fault, group="dgl_mutual.students")


def make_custom(options: StudentOptions) -> Callable[..., Any]:
    """The class or function of a custom student, which takes (in_features, num_outputs, **options).

    Raises:
        UsageError: it cannot be found, does not take the given options or their values, or options were given that only built-in
            students have.
    """
    surplus = sorted(options.model_fields_set - {"architecture", "options", "edge_features"})
    if surplus:
        raise UsageError(
            f"The options {', '.join(surplus)} are for built-in students, and {options.label} is not one. Leave them out, or, if its class "
            f"or function takes them, give {{architecture: {options.architecture_name}, options: {{{surplus[0]}: ...}}}}."
        )
    make = STUDENT_REGISTRY.resolve(options.architecture)
    signature = _signature(make)
    if signature is None:
        return make
    arguments = custom_arguments(make, options, "node")
    try:
        signature.bind(1, 1, **arguments)
    except TypeError as error:
        raise UsageError(
            f"The student {options.architecture_name} cannot be called with (in_features, num_outputs"
            f"{''.join(f', {key}=...' for key in arguments)}): {error}. It takes {signature}."
        ) from None
    for name, value in options.options.items():
        fault = _fault_of_value(signature.parameters.get(name), value)
        if fault is not None:
            raise UsageError(f"The option {name!r} = {value!r:.200} of the student {options.architecture_name}: {fault}.")
    return make


def _fault_of_value(parameter: inspect.Parameter | None, value: Any) -> str | None:
    """Describe why a value does not fit a parameter of type int, float, str or bool, optional or not; None otherwise."""
    if parameter is None or (value is None and parameter.default is None):
        return None
    members = get_args(parameter.annotation) if get_origin(parameter.annotation) in (Union, UnionType) else (parameter.annotation,)
    value_types = [member for member in members if member is not NoneType]
    if value is None and NoneType in members:
        return None
    for plain_type, accepted_types, needed in _PLAIN_TYPES:
        if value_types == [plain_type] and (not isinstance(value, accepted_types) or (isinstance(value, bool) and plain_type is not bool)):
            return f"{needed} is needed, since its class or function has {parameter}"
    return None


def custom_arguments(make: Callable[..., Any], options: StudentOptions, task: TaskName) -> dict[str, Any]:
    """Keyword arguments for the class or function of a custom student: its options, which win, and `task` if it has a parameter of this
    name without a default, or with the default None, "node" or "graph". A parameter with another default has another meaning."""
    signature = _signature(make)
    parameters = [] if signature is None else list(signature.parameters.values())
    takes_task = any(
        param.name == "task"
        and (param.kind is param.KEYWORD_ONLY or (place > 1 and param.kind is param.POSITIONAL_OR_KEYWORD))
        and (
            param.default is param.empty or param.default is None or (isinstance(param.default, str) and param.default in ("node", "graph"))
        )
        for place, param in enumerate(parameters)
    )
    return {**({"task": task} if takes_task else {}), **options.options}


def _signature(make: Callable[..., Any]) -> inspect.Signature | None:
    """The signature; None for some classes written in C."""
    for evaluates in (True, False):  # annotations may name imports of type checkers only
        with suppress(Exception):
            return inspect.signature(make, eval_str=evaluates)
    return None


def has_node_states(options: StudentOptions, task: TaskName) -> bool:
    """Whether a student has node states on this task."""
    return options.is_custom or task == "node" or not ARCHITECTURES[options.architecture_name].pools_first


def uses_edges(options: StudentOptions) -> bool:
    """Whether edges can change what a student predicts; True for custom students, for which this is unknown."""
    return options.is_custom or ARCHITECTURES[options.architecture_name].uses_edges


def runs_on_dgl(options: StudentOptions) -> bool:
    """Whether a student runs on DGLGraphs, as all custom ones do."""
    return options.is_custom or ARCHITECTURES[options.architecture_name].runs_on_dgl


def num_blocks(options: StudentOptions) -> int:
    """Number of blocks that a student needs with sampled neighbours: its depth, or the `num_blocks` of a custom class.

    Raises:
        UsageError: the student does not support sampled neighbourhoods.
    """
    if not options.is_custom:
        if not ARCHITECTURES[options.architecture_name].takes_blocks:
            raise UsageError(
                f"A layer of {options.architecture} needs more than the in-neighbours of a node, so such students cannot train on sampled "
                "neighbourhoods. Leave out --sampler, or choose another architecture, for example gatv2."
            )
        return options.depth or 0
    declared = getattr(STUDENT_REGISTRY.resolve(options.architecture), "num_blocks", None)
    if declared is None:
        raise UsageError(
            f"The student {options.architecture_name} does not declare that it takes sampled neighbourhoods. If its forward takes a list "
            "of DGL's blocks in place of the graph, set the class attribute num_blocks to their number. Otherwise leave out --sampler."
        )
    if not isinstance(declared, int) or isinstance(declared, bool) or declared < 1:
        raise UsageError(
            f"The student {options.architecture_name} has num_blocks = {declared!r}. Set the class attribute to a positive integer."
        )
    return declared
