"""Proposals of options for the trials of a search: which options a trial samples, how, and the values of the others."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dgl_mutual.experiments.configuration.config import MAX_SEEDS, RunConfig
from dgl_mutual.experiments.configuration.layers import value_at
from dgl_mutual.experiments.configuration.resolve import resolved_values
from dgl_mutual.experiments.configuration.without_effect import without_effect_in_search
from dgl_mutual.experiments.tuning.records import best_trial
from dgl_mutual.search_space import SearchSpace, plain_value
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.seeds import derive

if TYPE_CHECKING:
    import optuna

#: First seed of tuning. Seeds of runs end before it, so that no run reuses the seeds that its configuration was chosen on.
FIRST_SEED = MAX_SEEDS
#: Number of trials before the sampler and the pruner learn from them.
STARTUP_TRIALS = 5


class Proposals:
    """Samples the options of new trials, and repeats interrupted trials."""

    def __init__(self, study: optuna.Study, resolved: RunConfig, space: SearchSpace) -> None:
        self.study, self.resolved, self.space = study, resolved, space
        unused = without_effect_in_search(resolved, space)
        #: The searched options that have an effect.
        self.drawn = {key: domain for key, domain in space.items() if key not in unused}
        self.defaults = defaults_of(resolved, self.drawn)
        self.idle_with = resolve_strategy(resolved.strategy).Options.all_idle_with()

    def next_trial(self, number: int) -> optuna.Trial:
        """Return a waiting trial of the study, or a new one, with its options drawn.

        Args:
            number: number of trials before it that count.
        """
        self.study.sampler, keys = self._sampler(number)
        trial = self.study.ask()
        if "keys" not in trial.user_attrs:  # a waiting trial has its own
            trial.set_user_attr("keys", keys)
        for key in trial.user_attrs["keys"]:
            if not self._has_no_effect(key, trial.params):
                self.space[key].suggest(trial, key)
        return trial

    def _sampler(self, number: int) -> tuple[optuna.samplers.BaseSampler, list[str]]:
        """The sampler of a trial, and the options for which the trial has values.

        Every second trial samples all options. The others sample a third of them, and take the rest from the best trial so far: most
        options have good defaults, so few trials that change all at once would be better. The result depends only on earlier trials,
        not on interruptions.
        """
        import optuna

        seed = derive(FIRST_SEED, "tune", number) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=STARTUP_TRIALS)
        best = best_trial(self.study)
        if number % 2 == 0 or best is None:
            return sampler, list(self.drawn)
        varied = random.Random(seed).sample(list(self.drawn), max(1, round(len(self.drawn) / 3)))
        fixed = {key: value for key, value in best.params.items() if key in self.drawn and key not in varied}
        return optuna.samplers.PartialFixedSampler(fixed, sampler), [
            key for key in self.drawn if key in varied or key in fixed or key.rpartition(".")[2] in self.idle_with
        ]

    def _has_no_effect(self, key: str, drawn: Mapping[str, Any]) -> bool:
        """Whether an option has no effect with the values that a trial has already drawn."""
        group, _, name = key.partition(".")
        if group != "strategy_options" or name not in self.idle_with:
            return False
        others = self.idle_with[name].items()
        return any(
            drawn.get(f"{group}.{other}", self.resolved.strategy_options.get(other)) in map(plain_value, values) for other, values in others
        )

    def enqueue_defaults(self) -> None:
        """Enqueue a trial with the given options and all other defaults."""
        self.study.enqueue_trial(self.defaults, user_attrs={"defaults": True, "keys": list(self.defaults)})

    def repeat(self, abandoned: optuna.trial.FrozenTrial) -> None:
        """Mark a running trial whose process has ended as interrupted, and enqueue one with the same options."""
        from optuna.trial import TrialState

        # Only the storage can set an attribute of another process's trial, and only before `tell`.
        self.study._storage.set_trial_user_attr(abandoned._trial_id, "interrupted", True)
        drawn = {**abandoned.system_attrs.get("fixed_params", {}), **abandoned.params}
        keys = abandoned.user_attrs.get("keys", list(drawn))
        if "defaults" in abandoned.user_attrs:
            self.study.enqueue_trial(drawn, user_attrs={"defaults": True, "keys": keys})
        # A trial that was killed while its options were drawn is not enqueued: the next trial draws all options again.
        elif drawn and all(key in drawn or self._has_no_effect(key, drawn) for key in keys):
            self.study.enqueue_trial(drawn, user_attrs={"keys": keys})
        self.study.tell(abandoned.number, state=TrialState.FAIL)


def defaults_of(resolved: RunConfig, space: SearchSpace) -> dict[str, Any]:
    """The defaults of searched options, as Optuna stores them, without those that differ between students or are out of range."""
    values, defaults = resolved_values(resolved), {}
    declared = resolve_strategy(resolved.strategy).Options.model_fields
    for key, domain in space.items():
        group, name = key.split(".", 1)
        if group == "student":
            each = [student.get(name) for student in values["students"]]
            value = each[0] if all(other == each[0] for other in each) else None
        else:
            value = value_at(values, key)
        stored = domain.stored(value)
        if stored is None and group == "strategy_options" and name in declared and declared[name].default is None:
            stored = domain.stored(None)  # a default that depends on the number of epochs
        if stored is not None:
            defaults[key] = stored
    return defaults
