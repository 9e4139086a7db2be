"""What every strategy must do, on nodes and graphs, with one label and with several, for two students and for five."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dgl_mutual.errors import UsageError
from dgl_mutual.strategies import STRATEGIES
from tests.strategies.cases import SMALL, Bench
from tests.strategies.references import REFERENCES, Numbers

SMALL_OPTIONS = {"kd": {"teacher": SMALL}, "okddip": {"leader": SMALL}}
MULTI_LABEL_OPTIONS = {"kdcl": {"target": "naive"}}
JOINT_CASES = [(name, task, "joint", 3) for name in STRATEGIES for task in ("node", "graph")]

every_case = pytest.mark.parametrize(
    ("name", "task", "kind", "num_students"),
    [
        (name, task, kind, num_students)
        for name in STRATEGIES
        for task in ("node", "graph")
        for kind in ("single-label", "multi-label")
        for num_students in (2, 5)
    ],
)
with_joint = pytest.mark.parametrize(every_case.args[0], [*every_case.args[1], *JOINT_CASES])


def make_bench(name: str, task: str, kind: str, num_students: int) -> Bench:
    # Targets are given, so that the loop's way of making them does not matter here.
    options = {**SMALL_OPTIONS.get(name, {}), **(MULTI_LABEL_OPTIONS.get(name, {}) if kind != "single-label" else {})}
    return Bench.of(name, task, kind, num_students, options)


def test_every_strategy_has_a_reference():
    assert set(REFERENCES) == set(STRATEGIES)


@every_case
def test_terms_equal_the_formula(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    for active in bench.strategy.phases():
        step = bench.step(active)
        terms = bench.strategy.loss_terms(step)
        expected = REFERENCES[name](Numbers(step, bench.strategy))
        assert list(terms) == list(expected)
        for term, value in terms.items():
            np.testing.assert_allclose(value.detach().numpy(), expected[term], rtol=1e-6, atol=1e-12, err_msg=term)


@with_joint
def test_every_phase_trains_some_and_all_students_train(name, task, kind, num_students):
    phases = make_bench(name, task, kind, num_students).strategy.phases()
    trained = [k for active in phases for k in active]
    assert sorted(trained) == list(range(len(make_bench(name, task, kind, num_students).members)))


@with_joint
def test_a_members_own_terms_reach_it_and_no_other_and_shared_terms_reach_none(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    for active in bench.strategy.phases():
        for term, value in bench.strategy.loss_terms(bench.step(active)).items():
            shared = value.ndim == 0
            assert shared or value.shape == (len(active),)
            for place, entry in enumerate([value] if shared else value):
                reached = [k for k, member in enumerate(bench.members) if _gradient(entry, member) > 0]
                assert reached == ([] if shared else [active[place]]), term


@with_joint
def test_the_order_of_samples_does_not_matter(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    order = torch.as_tensor(np.random.default_rng(1).permutation(bench.dataset.num_samples))
    for active in bench.strategy.phases():
        terms = bench.strategy.loss_terms(bench.step(active))
        permuted = bench.strategy.loss_terms(bench.step(active, order))
        for term, value in terms.items():
            torch.testing.assert_close(permuted[term], value, rtol=1e-9, atol=1e-12)


@with_joint
def test_a_few_steps_lower_each_term_on_a_fixed_batch(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    parameters = [parameter for module in (*bench.members, bench.strategy) for parameter in module.parameters()]
    for active in {bench.strategy.phases()[0], bench.strategy.phases()[-1]}:
        for term in bench.strategy.loss_terms(bench.step(active)):
            optimizer = torch.optim.Adam(parameters, lr=0.01)
            values = []
            for _ in range(4):
                value = bench.strategy.loss_terms(bench.step(active))[term].sum()
                values.append(value.item())
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            assert values[-1] < values[0], (active, term, values)


@with_joint
def test_nothing_is_learned_from_others_before_the_ramp_starts(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    for active in bench.strategy.phases():
        terms = bench.strategy.loss_terms(bench.step(active, ramp=0.0))
        for term, value in terms.items():
            assert term == "supervised" or value.ndim == 0 or not value.any()


@pytest.mark.parametrize("name", [name for name, kind in STRATEGIES.items() if kind.min_students > 1])
def test_a_cohort_of_one_is_refused(name):
    with pytest.raises(UsageError, match="needs at least 2 students"):
        make_bench(name, "node", "single-label", 1)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_citation_is_complete(name):
    citation = STRATEGIES[name].citation
    assert all(vars(citation).values())
    assert name == "independent" or citation.url.startswith("https://")


@pytest.mark.parametrize("name", STRATEGIES)
def test_reset_parameters_draws_all_of_the_strategys_weights_anew(name):
    strategy = make_bench(name, "node", "single-label", 3).strategy
    before = {key: value.detach().clone() for key, value in strategy.named_parameters()}
    strategy.reset_parameters()
    assert all(not torch.equal(value, before[key]) for key, value in strategy.named_parameters())


def _gradient(value: torch.Tensor, module: torch.nn.Module) -> float:
    if not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, list(module.parameters()), retain_graph=True, allow_unused=True)
    return float(sum(gradient.abs().sum() for gradient in gradients if gradient is not None))
