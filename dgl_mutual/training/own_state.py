"""A check that the state of modules of a user's own keeps its form while they train."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.custom import CustomStudent
from dgl_mutual.training.callbacks import Callback
from dgl_mutual.training.state import TrainingState
from dgl_mutual.utils.user_code import is_ours

_Shapes: TypeAlias = dict[str, "tuple[int, ...] | None"]


class OwnStateCheck(Callback):
    """Refuses modules of a user's own whose parameters or buffers come, go or change their shape: the optimizer would not train them, and
    what is saved could not be loaded. It must come before the callbacks that keep weights.
    """

    def __init__(self) -> None:
        self._before: dict[str, _Shapes] = {}

    def on_phase_begin(self, state: TrainingState) -> None:
        self._before = {title: _shapes(module) for title, module in _own_modules(state).items()}

    def on_epoch_end(self, state: TrainingState) -> None:
        for title, module in _own_modules(state).items():
            before, now = self._before[title], _shapes(module)
            lazy = {name for name, shape in before.items() if shape is None and name in now}  # it gets its shape in the first step
            names = [name for name in {**before, **now} if name not in lazy and before.get(name) != now.get(name)]
            if not names:
                continue
            name = names[0]
            if name in before and name in now:
                raise UsageError(
                    f"{title} changes the shape of {name} from {before[name]} to {now[name]} while it trains, and what is saved could not "
                    "be loaded. Keep the shape, for example with a buffer of the largest size and a count."
                )
            change = "is made" if name in now else "is removed"
            raise UsageError(
                f"{name} of {title[0].lower()}{title[1:]} {change} while it trains, and would not be trained or saved with the rest. Make "
                "all parameters and buffers in __init__, not in forward."
            )


def _own_modules(state: TrainingState) -> dict[str, nn.Module]:
    """The modules of a user's own, by their names in messages."""
    found: dict[str, nn.Module] = {
        f"The student {member.name!r}": member for member in state.cohort.members if isinstance(member, CustomStudent)
    }
    found.update({f"The weighting {type(one).__name__!r}": one for one in state.strategy.coordinator.each() if not is_ours(one)})
    if not is_ours(state.strategy):
        found[f"The strategy {state.strategy.name!r}"] = state.strategy
    return found


def _shapes(module: nn.Module) -> _Shapes:
    """The shape of each parameter and buffer that is saved; None of a lazy one."""
    saved = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    return {name: None if is_lazy(tensor) else tuple(tensor.shape) for name, tensor in saved.items()}
