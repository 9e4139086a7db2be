"""What every strategy must do, on nodes and graphs, with one label and with several, for two students and for five."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dgl_mutual.errors import UsageError
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.strategies.base.step import Step
from tests.strategies.cases import Bench, make_bench
from tests.strategies.references import REFERENCES, Numbers

#: Strategy -> the term by which its members learn from others.
TAUGHT_BY = {
    **dict.fromkeys(("dml", "gml", "kdcl", "oad", "okddip"), "mutual"),
    **dict.fromkeys(("bgnn", "ensemble-distillation", "kd", "self-distillation"), "distillation"),
    **dict.fromkeys(("mean-teacher", "snapshot-distillation"), "consistency"),
    **{"alignahead": "alignment", "independent": None, "pseudo-label": "pseudo_label"},
}


def each_strategy_with(*cases: tuple[str, str, int]) -> pytest.MarkDecorator:
    """Every strategy on each task and kind of target, with so many students."""
    return pytest.mark.parametrize(("name", "task", "kind", "num_students"), [(name, *case) for name in STRATEGIES for case in cases])


in_each_setting = each_strategy_with(("node", "single-label", 2), ("graph", "multi-label", 5), ("node", "joint", 3))


def test_every_strategy_has_a_reference():
    assert set(REFERENCES) == set(STRATEGIES)


@each_strategy_with(("node", "single-label", 2), ("node", "multi-label", 5), ("graph", "single-label", 5), ("graph", "multi-label", 2))
def test_terms_equal_the_formula(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    for active in bench.strategy.phases():
        step = bench.step(active)
        terms = bench.strategy.loss_terms(step)
        expected = REFERENCES[name](Numbers(step, bench.strategy))
        assert list(terms) == list(expected)
        for term, value in terms.items():
            np.testing.assert_allclose(value.detach().numpy(), expected[term], rtol=1e-6, atol=1e-12, err_msg=term)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_phase_trains_some_and_all_members_train_once(name):
    bench = make_bench(name, "node", "single-label", 3)
    phases = bench.strategy.phases()
    assert all(phases) and sorted(k for active in phases for k in active) == list(range(len(bench.members)))


@pytest.mark.parametrize("name", [name for name, kind in STRATEGIES.items() if "weight" in kind.Options.model_fields])
def test_without_weight_what_shapes_the_exchange_changes_nothing_and_is_named(name):
    other = {"temperature": 1.5, "target_temperature": 2.5, "scale_by_temperature": False, "gate": "confidence", "mix": "logits"}
    other |= {"bandwidth": 2.0, "target": "mean", "attention_hidden": 4, "temperature_hidden": 5}
    for option in {key: other[key] for key in STRATEGIES[name].Options.model_fields if key in other}.items():
        plain, changed = (Bench.of(name, "node", "single-label", 3, {"weight": 0.0, **dict(more)}) for more in ([], [option]))
        assert option[0] in changed.strategy.options.without_effect(3)
        for active in plain.strategy.phases():
            terms, others = (bench.strategy.loss_terms(plain.step(active)) for bench in (plain, changed))
            assert all(torch.equal(terms[term], others[term]) for term in terms), option


@pytest.mark.parametrize("num_students", [2, 3])
def test_two_students_learn_no_attention(num_students):
    plain, changed = (Bench.of("okddip", "node", "single-label", num_students, {"attention_hidden": hidden}) for hidden in (16, 4))
    active = plain.strategy.phases()[0]
    terms, others = (bench.strategy.loss_terms(plain.step(active)) for bench in (plain, changed))
    is_idle = all(torch.equal(terms[term], others[term]) for term in terms)
    assert is_idle == (num_students == 2) == ("attention_hidden" in changed.strategy.options.without_effect(num_students))


@in_each_setting
def test_a_members_own_terms_reach_it_and_no_other_and_shared_terms_reach_none(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    for active in bench.strategy.phases():
        for term, value in bench.strategy.loss_terms(bench.step(active)).items():
            shared = value.ndim == 0
            assert shared or value.shape == (len(active),)
            for index, entry in enumerate([value] if shared else value):
                reached = [k for k, member in enumerate(bench.members) if _gradient(entry, member) > 0]
                assert reached == ([] if shared else [active[index]]), term


@in_each_setting
def test_the_order_of_samples_does_not_matter(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    order = torch.as_tensor(np.random.default_rng(1).permutation(bench.dataset.num_samples))
    for active in bench.strategy.phases():
        terms = bench.strategy.loss_terms(bench.step(active))
        permuted = bench.strategy.loss_terms(bench.step(active, order))
        for term, value in terms.items():
            torch.testing.assert_close(permuted[term], value, rtol=1e-9, atol=1e-12)


@in_each_setting
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


@in_each_setting
def test_nothing_is_learned_from_others_before_the_ramp_starts(name, task, kind, num_students):
    bench = make_bench(name, task, kind, num_students)
    for active in bench.strategy.phases():
        terms = bench.strategy.loss_terms(bench.step(active, ramp=0.0))
        for term, value in terms.items():
            assert term == "supervised" or value.ndim == 0 or not value.any()


TEACHING = {name: term for name, term in TAUGHT_BY.items() if term is not None}


def taught_step(bench: Bench, active: tuple[int, ...]) -> Step:
    """A step of members that disagree, whose targets are what they predict, as where the training pass speaks for them."""
    random = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(bench.targets.shape, generator=random, dtype=torch.float64)
    return bench.step(active, logits=logits[list(active)], targets=logits)


def test_every_strategy_says_by_which_term_it_teaches():
    assert set(TAUGHT_BY) == set(STRATEGIES)


@pytest.mark.parametrize(("name", "term"), TEACHING.items())
def test_the_exchange_in_the_history_is_the_term_before_its_weight(name, term):
    bench = make_bench(name, "node", "single-label", 3)
    for active in bench.strategy.phases():
        step = bench.step(active, ramp=0.5)
        terms = bench.strategy.loss_terms(step)
        assert (term in terms) == ("exchange" in step.log)
        if term in terms:
            options = bench.strategy.options
            torch.testing.assert_close(terms[term].detach(), 0.5 * getattr(options, "scale", options.weight) * step.log["exchange"])
            assert not step.log["exchange"].requires_grad and (step.log["exchange"] > 0).all()


def test_the_control_exchanges_nothing():
    bench = make_bench("independent", "node", "single-label", 3)
    step = bench.step((0, 1, 2))
    bench.strategy.loss_terms(step)
    assert "exchange" not in step.log


@pytest.mark.parametrize("name", ["bgnn", "gml", "oad", "okddip"])
def test_what_a_strategy_learns_itself_cannot_take_the_exchange_away(name):
    """Its own weights alone are trained, on the whole loss: students that never change must still have much to learn from each other."""
    bench = make_bench(name, "node", "single-label", 3)
    active = bench.strategy.phases()[-1]
    optimizer = torch.optim.Adam(bench.strategy.parameters(), lr=0.3)
    exchanged = []
    for _ in range(30):
        step = taught_step(bench, active)
        optimizer.zero_grad()
        torch.cat([value.reshape(-1) for value in bench.strategy.loss_terms(step).values()]).sum().backward()
        optimizer.step()
        exchanged.append(step.log["exchange"])
    assert (exchanged[-1] > 0.2 * exchanged[0]).all(), (exchanged[0], exchanged[-1])


@pytest.mark.parametrize("name", ["gml", "okddip"])
def test_no_student_is_in_its_own_target(name):
    bench = make_bench(name, "node", "single-label", 3)
    (active,) = bench.strategy.phases()
    step = bench.step(active)
    bench.strategy.loss_terms(step)
    weights = step.log["weights"]
    assert weights.shape == (3, 3) and not weights.diagonal().any()
    torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[0]))


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
