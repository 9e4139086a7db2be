"""What the trials of a search try: which options each of them draws, by which sampler, and what it has instead of drawing."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dgl_mutual.experiments.configuration.config import MAX_SEEDS, RunConfig
from dgl_mutual.experiments.configuration.idle import idle_in_search
from dgl_mutual.experiments.configuration.layers import value_at
from dgl_mutual.experiments.configuration.resolve import resolved_values
from dgl_mutual.experiments.tuning.records import best_trial
from dgl_mutual.search_space import SearchSpace, plain_value
from dgl_mutual.strategies import resolve_strategy
from dgl_mutual.training.seeds import derive

if TYPE_CHECKING:
    import optuna

#: Seeds of tuning begin where those of runs end, so that no run repeats what its configuration was chosen on.
FIRST_SEED = MAX_SEEDS
#: Trials before the sampler and the pruner learn from them.
STARTUP_TRIALS = 5


class Proposals:
    """Draws the options of new trials, and repeats those of trials that were interrupted."""

    def __init__(self, study: optuna.Study, resolved: RunConfig, space: SearchSpace) -> None:
        self.study, self.resolved, self.space = study, resolved, space
        idle = idle_in_search(resolved, space)
        #: What is drawn: what is searched and has an effect.
        self.drawn = {key: domain for key, domain in space.items() if key not in idle}
        self.defaults = defaults_of(resolved, self.drawn)
        self.idle_with = resolve_strategy(resolved.strategy).Options.all_idle_with()

    def next_trial(self, number: int) -> optuna.Trial:
        """A new trial, its options drawn: one that waits in the study, if there is one.

        Args:
            number: of trials before it that count.
        """
        self.study.sampler, keys = self._sampler(number)
        trial = self.study.ask()
        if "keys" not in trial.user_attrs:  # one that waited has those of its own
            trial.set_user_attr("keys", keys)
        for key in trial.user_attrs["keys"]:
            if not self._is_idle(key, trial.params):
                self.space[key].suggest(trial, key)
        return trial

    def _sampler(self, number: int) -> tuple[optuna.samplers.BaseSampler, list[str]]:
        """The sampler of a trial, and the options that the trial has values of.

        Every second trial samples all options. The others sample a third of them, and take the rest from the best trial so far: most
        options have good defaults, and few trials that change all of them at once would be better. The result depends on the trials
        before, not on whether the search was interrupted.
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

    def _is_idle(self, key: str, drawn: Mapping[str, Any]) -> bool:
        """Whether an option has no effect beside what a trial has drawn before it."""
        group, _, name = key.partition(".")
        if group != "strategy_options" or name not in self.idle_with:
            return False
        others = self.idle_with[name].items()
        return any(
            drawn.get(f"{group}.{other}", self.resolved.strategy_options.get(other)) in map(plain_value, values) for other, values in others
        )

    def enqueue_defaults(self) -> None:
        """Let a trial with what was given, and all other defaults, wait in the study."""
        self.study.enqueue_trial(self.defaults, user_attrs={"defaults": True, "keys": list(self.defaults)})

    def repeat(self, abandoned: optuna.trial.FrozenTrial) -> None:
        """Mark a running trial, whose process has ended, as interrupted, and let one with the same options wait in the study."""
        from optuna.trial import TrialState

        # Only the storage gives an attribute to a trial that this process has not asked for, and after `tell` a trial takes none.
        self.study._storage.set_trial_user_attr(abandoned._trial_id, "interrupted", True)
        drawn = {**abandoned.system_attrs.get("fixed_params", {}), **abandoned.params}
        keys = abandoned.user_attrs.get("keys", list(drawn))
        if "defaults" in abandoned.user_attrs:
            self.study.enqueue_trial(drawn, user_attrs={"defaults": True, "keys": keys})
        # A trial that was killed while its options were drawn draws all of them again, as the trial of its number does.
        elif drawn and all(key in drawn or self._is_idle(key, drawn) for key in keys):
            self.study.enqueue_trial(drawn, user_attrs={"keys": keys})
        self.study.tell(abandoned.number, state=TrialState.FAIL)


def defaults_of(resolved: RunConfig, space: SearchSpace) -> dict[str, Any]:
    """The defaults of what is searched, as Optuna stores them, without those that differ between students or are outside of their range."""
    values, found = resolved_values(resolved), {}
    declared = resolve_strategy(resolved.strategy).Options.model_fields
    for key, domain in space.items():
        group, name = key.split(".", 1)
        if group == "student":
            each = [student.get(name) for student in values["students"]]
            value = each[0] if all(one == each[0] for one in each) else None
        else:
            value = value_at(values, key)
        stored = domain.stored(value)
        if stored is None and group == "strategy_options" and name in declared and declared[name].default is None:
            stored = domain.stored(None)  # a default that is resolved by the number of epochs
        if stored is not None:
            found[key] = stored
    return found
