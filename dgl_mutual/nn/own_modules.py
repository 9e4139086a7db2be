"""Checks of modules that users bring: that their weights and buffers can be kept, saved and loaded again."""

from __future__ import annotations

from weakref import WeakValueDictionary

from torch import Tensor, nn

#: The parameters of all modules of a user's own that live, by `id`; tensors cannot be the keys of a set of weak references.
_KNOWN: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()


def fault_of_state(module: nn.Module) -> str | None:
    """What in the state of a module cannot be kept, as the end of a sentence that starts with its name; None if all can."""
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            return f"keeps state that is not a tensor ({name}). Keep it in buffers."
        if any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True)):
            return f"has a tensor {name} several values of which share memory, as expand() makes them. Make a copy: {name}.clone()."
    return None


def was_given_before(module: nn.Module) -> bool:
    """Whether a trainable parameter of a module has been seen by an earlier call: it has been trained then, or soon will be."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = any(_KNOWN.get(id(parameter)) is parameter for parameter in parameters)
    _KNOWN.update({id(parameter): parameter for parameter in parameters})
    return found
