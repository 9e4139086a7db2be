from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from dgl_mutual.errors import UsageError
from dgl_mutual.nn.options import StudentOptions
from dgl_mutual.options import parse_options
from dgl_mutual.strategies import STRATEGIES
from dgl_mutual.strategies.base.options import Unlabelled
from dgl_mutual.strategies.base.setting import TrainingSamples
from dgl_mutual.strategies.gml import GMLOptions, GraphMutualLearning
from dgl_mutual.training.options import TrainingOptions
from dgl_mutual.weightings import WEIGHTINGS
from tests.cohorts import train_cohort
from tests.strategies.cases import Bench
from tests.strategies.test_kd import fit
from tests.training.small_data import graphs, nodes

PLAIN = {"weighting": "uniform", "target_temperature": None, "mix": "logits"}


def terms_of(options, num_students=3, kind="single-label", task="node", **changes):
    bench = Bench.of("gml", task, kind, num_students, options)
    step = bench.step(range(num_students), **changes)
    return bench.strategy.loss_terms(step), step


@pytest.mark.parametrize("mix", ["logits", "probabilities"])
def test_uniform_weights_teach_the_mean_peer(mix):
    terms, step = terms_of({**PLAIN, "mix": mix})
    assert list(terms) == ["supervised", "mutual"]
    for i, own in enumerate(step.logits.detach().numpy()):
        peers = np.delete(step.targets.numpy(), i, axis=0)
        target = softmax(peers.mean(0), axis=-1) if mix == "logits" else softmax(peers, axis=-1).mean(0)
        expected = rel_entr(target, softmax(own, axis=-1)).sum(-1).mean()
        assert terms["mutual"][i].item() == pytest.approx(expected)


@pytest.mark.parametrize("weighting", ["classwise", "transductive"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_a_target_is_a_distribution_also_where_weights_differ_by_class(weighting, kind):
    bench = Bench.of("gml", "node", kind, 3, {"weighting": weighting, "mix": "probabilities", "target_temperature": None})
    coordinator = bench.strategy.coordinator
    with torch.no_grad():
        for parameter in coordinator.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    step = bench.step(range(3))
    targets = bench.strategy._peer_target(step).numpy()
    p = bench.strategy.distribution.probabilities(step.targets).numpy()
    weights = coordinator.peer_weights(step.targets, bench.strategy.distribution.confidence(step.targets), step.samples).detach().numpy()
    assert np.ptp(weights, axis=-1).max() > 0.1  # they differ by class
    for i in range(3):
        mixed = sum(weights[i, j] * p[j] for j in range(3) if j != i)
        if kind == "single-label":
            assert np.abs(mixed.sum(-1) - 1).max() > 0.01
            mixed /= mixed.sum(-1, keepdims=True)
        np.testing.assert_allclose(targets[i], mixed, rtol=1e-6)
    own = bench.strategy.distribution.divergence(torch.as_tensor(targets), step.targets)
    assert (own >= 0).all()


def test_two_students_with_plain_options_are_deep_mutual_learning():
    gml, _ = terms_of(PLAIN, num_students=2)
    bench = Bench.of("dml", "node", "single-label", 2)
    dml = bench.strategy.loss_terms(bench.step(range(2)))
    torch.testing.assert_close(gml["mutual"], dml["mutual"])


def test_student_and_target_have_temperatures_of_their_own():
    options = {**PLAIN, "temperature": 2.0, "target_temperature": 0.5, "weight": 0.3}
    scaled, step = terms_of(options, num_students=2)
    plain, _ = terms_of({**options, "scale_by_temperature": False}, num_students=2)
    target, own = softmax(step.targets[1].numpy() / 0.5, axis=-1), softmax(step.logits[0].detach().numpy() / 2, axis=-1)
    assert plain["mutual"][0].item() == pytest.approx(0.3 * rel_entr(target, own).sum(-1).mean())
    torch.testing.assert_close(scaled["mutual"], 4 * plain["mutual"])


def test_the_exchange_may_be_on_labelled_samples_alone():
    bench = Bench.of("gml", "node", "single-label", 2, {**PLAIN, "exchange_on": "labelled", "exchange_warmup": (0, 0)})
    assert bench.strategy.exchange().on == "labelled"
    rows = torch.nonzero(bench.labelled).squeeze(1)
    few = bench.strategy.loss_terms(bench.step(range(2), exchange=rows))["mutual"]
    targets = torch.where(bench.labelled[:, None], bench.targets, 0.0)
    same = bench.strategy.loss_terms(bench.step(range(2), exchange=rows, targets=targets))["mutual"]
    assert torch.equal(few, same)


def test_the_entropy_bonus_flattens_predictions():
    terms, step = terms_of({"entropy_weight": 0.1})
    p = softmax(step.logits.detach().numpy(), axis=-1)
    np.testing.assert_allclose(terms["entropy"].detach().numpy(), 0.1 * (p * np.log(p)).sum(-1).mean(-1))
    (gradient,) = torch.autograd.grad(terms["entropy"].sum(), step.logits)
    top = step.logits.argmax(-1, keepdim=True)
    assert (gradient.gather(-1, top) >= 0).all()  # a step against the gradient lowers the highest logit


@pytest.mark.parametrize("weighting", ["attention", "classwise", "transductive", "confidence", "consensus", "cross-fitted", "uniform"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_every_weighting_gives_finite_terms_and_weights_that_sum_to_one_over_peers(weighting, kind):
    terms, step = terms_of({"weighting": weighting}, kind=kind)
    assert all(term.isfinite().all() for term in terms.values())
    assert ("coordinator" in terms) == (weighting not in ("confidence", "consensus", "uniform"))
    torch.testing.assert_close(step.log["weights"].sum(1), torch.ones(3, dtype=torch.float64))
    assert not step.log["weights"].diagonal().any()


def test_the_pull_towards_uniform_is_lowest_at_uniform_weights():
    pulls = []
    for scale in (0.0, 0.5, 1.0):
        bench = Bench.of("gml", "node", "single-label", 4, {"weighting": "attention", "uniform_kl_weight": 1.0})
        plain = Bench.of("gml", "node", "single-label", 4, {"weighting": "attention", "uniform_kl_weight": 0.0})
        for strategy in (bench.strategy, plain.strategy):
            strategy.coordinator.query.weight.data *= scale
        with_pull, without = (b.strategy.loss_terms(b.step(range(4)))["coordinator"] for b in (bench, plain))
        pulls.append((with_pull - without).item())
    assert pulls[0] == pytest.approx(0)
    assert 0 < pulls[1] < pulls[2]


class TestBest:
    @pytest.mark.parametrize(("key", "value"), [("direction", "best"), ("weighting", "cross-fitted")])
    def test_one_label_a_class_cannot_be_held_out(self, key, value):
        message = f"strategy_options.{key} = {value} judges students on training labels .* no class has two.* Give more labels, or (.*)\\.$"
        with pytest.raises(UsageError, match=message) as refused:
            strategy = Bench.of("gml", "node", "single-label", 3, {key: value}).strategy
            one_each = TrainingSamples(np.arange(3), np.arange(3), strategy.setting.training_samples.num_all)
            type(strategy)(strategy.options, replace(strategy.setting, training_samples=one_each))
        proposed = str(refused.value).rpartition(f"{key} = ")[2].removesuffix(".")
        assert Bench.of("gml", "node", "single-label", 3, {key: proposed}).strategy.options

    def test_the_best_on_held_out_samples_teaches_the_rest_and_learns_from_nobody(self):
        bench = Bench.of("gml", "node", "single-label", 3, {**PLAIN, "direction": "best"})
        labels = torch.as_tensor(bench.dataset.labels)
        bench.targets[1] = 5 * torch.nn.functional.one_hot(labels, 3)
        step = bench.step(range(3))
        mutual = bench.strategy.loss_terms(step)["mutual"]
        target = softmax(bench.targets[1].numpy(), axis=-1)
        for i in (0, 2):
            own = softmax(step.logits[i].detach().numpy(), axis=-1)
            assert mutual[i].item() == pytest.approx(rel_entr(target, own).sum(-1).mean())
        assert mutual[1] == 0
        assert step.log["weights"][:, 1].tolist() == [1, 1, 1]

    def test_the_ensemble_is_weighed_by_what_the_coordinator_observes(self):
        bench = Bench.of("gml", "node", "single-label", 3, {"direction": "best", "weighting": "consensus"})
        bench.strategy.loss_terms(bench.step(range(3)))
        others = Bench.of("gml", "node", "single-label", 3, {"weighting": "consensus"})
        others.strategy.loss_terms(others.step(range(3)))
        assert bench.strategy.coordinator.predicted.any()
        torch.testing.assert_close(bench.strategy.coordinator.state_dict(), others.strategy.coordinator.state_dict())

    def test_the_loss_that_decides_is_a_running_mean(self):
        bench = Bench.of("gml", "node", "single-label", 2, {**PLAIN, "direction": "best", "running_decay": 0.75})
        rows = torch.nonzero(bench.strategy.label_use.held_out).squeeze(1)
        assert len(rows) == 4  # a fifth of 20
        labels = torch.as_tensor(bench.dataset.labels)[rows]
        steps = [bench.step(range(2), targets=scale * bench.targets) for scale in (1, 2)]
        others = torch.nonzero(bench.labelled & ~bench.strategy.label_use.held_out).squeeze(1)
        for step in (*steps, bench.step(range(2), labelled=others)):  # the last has nothing held out and changes nothing
            bench.strategy.loss_terms(step)
        first, second = (torch.stack([torch.nn.functional.cross_entropy(z[rows], labels) for z in step.targets]) for step in steps)
        torch.testing.assert_close(bench.strategy.label_use.running_loss, 0.75 * first + 0.25 * second)
        bench.strategy.reset_parameters()
        assert bench.strategy.label_use.running_loss.isinf().all()

    @pytest.mark.parametrize("exchange_on", ["all", "labelled"])
    def test_a_batch_of_held_out_samples_alone_teaches_nothing(self, exchange_on):
        options = {"direction": "best", "exchange_on": exchange_on, "weighting": "attention"}
        bench = Bench.of("gml", "graph", "single-label", 2, options)
        rows = torch.nonzero(bench.strategy.label_use.held_out).squeeze(1)
        step = bench.step(range(2), labelled=rows, exchange=rows if exchange_on == "labelled" else slice(None))
        terms = bench.strategy.loss_terms(step)
        assert terms["supervised"].tolist() == [0, 0]
        assert all(term.isfinite().all() for term in terms.values())
        assert exchange_on == "all" or terms["mutual"].tolist() == [0, 0]

    @pytest.mark.parametrize("task", ["node", "graph"])
    def test_no_student_learns_from_held_out_labels(self, task):
        learned, kept = set(), set()

        class Watching(GraphMutualLearning):
            def supervised(self, step):
                learned.update(step.samples[step.labelled].tolist())
                kept.update(torch.nonzero(self.label_use.held_out).squeeze(1).tolist())
                return super().supervised(step)

        _, split = fit(task, Watching, {"direction": "best", "held_out": 0.25})
        all_of_them = set(split.train.tolist())
        assert learned.isdisjoint(kept)
        assert learned | kept == all_of_them
        assert len(kept) == round(0.25 * len(all_of_them))


@pytest.mark.parametrize(("task", "weighting", "option"), [("node", "consensus", "power"), ("graph", "attention", "hidden")])
def test_the_default_weighting_is_that_of_the_task_and_takes_its_own_options(task, weighting, option):
    chosen = GMLOptions().resolved(100, task)
    assert chosen.weighting == weighting and option in chosen.weighting_options
    assert GMLOptions(weighting_options={option: 3}).resolved(100, task).weighting_options[option] == 3
    assert GMLOptions(weighting="uniform").resolved(100, task).weighting == "uniform"
    with pytest.raises(UsageError, match="weighting_options"):
        GMLOptions(weighting_options={"temperature": 1.0}).resolved(100, task)


class TestHiddenLabels:
    """The class prior is a default where labels are hidden, and the exchange is on samples that were drawn as the labelled ones were."""

    def defaults(self, given, task="node", kind=GMLOptions, **how):
        return kind(**given).resolved(60, task, Unlabelled(**how))

    def test_the_class_prior_is_on_and_the_exchange_is_not_lighter_on_graphs(self):
        options = self.defaults({})
        assert options.exchange_on == "training" and options.entropy_weight < 0 < options.prior_weight
        options = self.defaults({}, "graph")
        assert options.exchange_on == "training" and options.entropy_weight == options.prior_weight == 0
        assert options.weight == 1 and options.mix == "probabilities" and options.targets == "best"

    def test_with_a_pool_no_step_makes_another_pass_by_default(self):
        options = self.defaults({}, "graph", pool=True)
        assert options.targets == "train" and options == GMLOptions(exchange_on="training").resolved(60, "graph")
        assert self.defaults({"targets": "best"}, "graph", pool=True).targets == "best"
        assert self.defaults({"exchange_on": "all"}, "graph", pool=True) == GMLOptions(exchange_on="all").resolved(60, "graph")

    @pytest.mark.parametrize("given", ["all", "transductive"])
    def test_with_an_exchange_on_all_nodes_the_class_prior_is_on_training_nodes(self, given):
        options = self.defaults({"exchange_on": given})
        assert options.entropy_on == "training" and options.entropy_weight < 0 < options.prior_weight
        assert self.defaults({}).entropy_on == "exchange"
        alone = self.defaults({"exchange_on": given, "entropy_weight": 0.0, "class_prior_weight": 2.0})
        assert (alone.entropy_on, alone.entropy_weight, alone.prior_weight) == ("training", 0, 2)
        for own in ({"entropy_on": "exchange"}, {"entropy_on": "all"}, {"entropy_weight": 0.0}, {"entropy_weight": 0.1}):
            with_own = {"exchange_on": given, **own}
            assert self.defaults(with_own) == GMLOptions(**with_own).resolved(60, "node")

    @pytest.mark.parametrize(("task", "given"), [("node", "labelled"), ("graph", "all"), ("graph", "labelled"), ("graph", "transductive")])
    def test_elsewhere_defaults_are_those_of_all_labels(self, given, task):
        options = self.defaults({"exchange_on": given}, task)
        assert options == GMLOptions(exchange_on=given).resolved(60, task) and options.prior_weight == 0

    def test_the_prior_is_off_where_classes_may_have_other_shares(self):
        assert self.defaults({"entropy_on": "all"}).prior_weight == 0

    @pytest.mark.parametrize("weight", [0.0, 0.1, -0.2])
    def test_an_entropy_weight_that_is_given_stays_what_it_is(self, weight):
        options = self.defaults({"entropy_weight": weight})
        assert options.entropy_weight == weight and options.prior_weight == (3 if weight < 0 else 0)

    def test_its_weight_alone_can_be_given(self):
        options = self.defaults({"class_prior_weight": 0.7})
        assert options.prior_weight == 0.7 and options.entropy_weight < 0

    def test_defaults_of_a_subclass_stay_what_it_declares(self):
        class Own(GMLOptions):
            entropy_weight: float = 0.1
            weight: float = 0.5
            target_temperature: float | None = 0.5

        assert self.defaults({}, kind=Own).entropy_weight == 0.1
        options = self.defaults({}, "graph", Own)
        assert options.weight == 0.5 and options.targets == "best"
        assert Own().resolved(60, "graph").weight == 0.5
        # That of `GMLOptions` on a node task, and declared all the same.
        assert Own().resolved(60, "graph").target_temperature == 0.5 and GMLOptions().resolved(60, "graph").target_temperature == 1.0

    def test_a_schedule_that_does_not_fit_is_refused_without_options_that_nobody_gave(self):
        with pytest.raises(UsageError, match="the entropy term is never on") as refused:
            self.defaults({"entropy_schedule": "warmup", "exchange_warmup": (0, 0)})
        assert "class_prior_weight" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"gate": "confidence", "gate_threshold": 0}, "more than 0"),
        ({"gate": "confidence", "gate_threshold": 1.5}, "at most 1 "),
        ({"gate": "both"}, "no such value. Choose from: none, confidence, agreement"),
        ({"class_prior_weight": 0.1, "entropy_schedule": "warmup", "exchange_warmup": [0, 5]}, "the entropy term is never on"),
        ({"class_prior_weight": -1, "entropy_weight": -0.1}, "at least 0 "),
        ({"entropy_weight": float("nan")}, "finite"),
        ({"entropy_weight": 0.1, "entropy_schedule": "warmup", "exchange_warmup": [0, 5]}, "the entropy term is never on"),
        ({"entropy_schedule": "warm-up"}, "Did you mean 'warmup'.*constant, warmup"),
        ({"entropy_on": "unlabelled"}, "exchange, labelled, training, all"),
    ],
)
def test_options_without_sense_are_refused(options, part):
    with pytest.raises(UsageError, match=part):
        parse_options(GMLOptions, options)


@pytest.mark.parametrize(
    ("options", "idle", "part"),
    [
        ({"ema_decay": 0.5}, "ema_decay", "since targets = eval. Leave it out, or choose another targets."),
        ({"ema_decay": 0.5, "targets": "best"}, "ema_decay", "since targets = best"),
        ({"gate_threshold": 0.5}, "gate_threshold", "since gate = none"),
        ({"running_decay": 0.5}, "running_decay", "since direction = all"),
        ({"running_decay": 0.5, "weighting": "cross-fitted"}, "running_decay", "since direction = all"),
        (
            {"held_out": 0.5},
            "held_out",
            "since direction = all and weighting = consensus. Leave it out, or choose direction=best or weight",
        ),
    ],
)
def test_options_without_effect_are_named(options, idle, part):
    found = parse_options(GMLOptions, options).without_effect(4)
    assert part in found[idle]
    assert (set(found) & set(options)) == {idle}
    if set(options) <= {"ema_decay", "targets"}:
        assert part in parse_options(STRATEGIES["pseudo-label"].Options, options).without_effect(4)[idle]


@pytest.mark.parametrize("options", [{"ema_decay": 0.5}, {"gate_threshold": 0.5}, {"running_decay": 0.5}, {"held_out": 0.5}])
def test_an_option_without_effect_changes_no_term(options):
    plain, changed = (terms_of({"targets": "eval", **more}, 3)[0] for more in ({}, options))
    assert all(torch.equal(plain[name], changed[name]) for name in plain)


@pytest.mark.parametrize("options", [{"entropy_on": "all"}, {"entropy_on": "labelled"}, {"entropy_schedule": "warmup"}])
def test_samples_and_epochs_of_terms_that_are_off_have_no_effect(options):
    def idle(parsed: GMLOptions, unlabelled: Unlabelled | None = None) -> bool:
        return bool(set(options) & set(parsed.resolved(100, "node", unlabelled).without_effect(4)))

    assert idle(parse_options(GMLOptions, options))
    assert not idle(parse_options(GMLOptions, {**options, "entropy_weight": 0.1}))
    assert not idle(parse_options(GMLOptions, {**options, "class_prior_weight": 0.1}))
    assert idle(parse_options(GMLOptions, options), Unlabelled()) == (options == {"entropy_on": "all"})


@pytest.mark.parametrize(
    "options",
    [
        {"ema_decay": 0.5, "targets": "ema"},
        {"ema_decay": 0.5, "targets": "average"},
        {"held_out": 0.5, "weighting": "cross-fitted"},
        {"held_out": 0.5, "running_decay": 0.5, "direction": "best"},
        {"gate_threshold": 0.5, "gate": "confidence"},
    ],
)
def test_options_with_effect_are_not(options):
    assert not set(parse_options(GMLOptions, options).without_effect(4)) & set(options)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("option", [{"uniform_kl_weight": 3.0}, {"coordinator_inputs": "eval"}])
def test_what_changes_nothing_of_the_coordinator_has_no_effect(option, weighting):
    learned = [terms_of({"weighting": weighting, **more})[0].get("coordinator") for more in ({}, option)]
    idle = learned[0] is None or torch.equal(*learned)
    resolved = parse_options(GMLOptions, {"weighting": weighting, **option}).resolved(100, "node")
    assert set(option) & set(resolved.without_effect(4)) == (set(option) if idle else set())


@pytest.mark.parametrize("data", [nodes, graphs])
@pytest.mark.parametrize(("beside", "why"), [({"direction": "best"}, "direction = best"), ({"weight": 0.0}, "weight = 0")])
@pytest.mark.parametrize(
    "option",
    [
        {"weighting": "uniform"},
        {"weighting_options": {"hidden": 3}},
        {"uniform_kl_weight": 9.0},
        {"coordinator_inputs": "eval"},
    ],
)
def test_with_one_teacher_or_none_the_weighting_changes_the_ensemble_alone(option, beside, why, data):
    learning = {"targets": "eval", "weighting": "attention", **option}
    assert not set(option) & set(parse_options(GMLOptions, learning).without_effect(3))
    plain = {"targets": "eval", "weighting": "attention", **beside}
    named = parse_options(GMLOptions, {**plain, **option}).resolved(100, "node").without_effect(3)
    reason = named[next(iter(option))]
    assert reason.startswith("except on the ensemble, since ") and why in reason
    students = [StudentOptions(architecture=name, hidden=4) for name in ("gcn", "sage", "gin")]
    ours, theirs = (
        train_cohort(*data(), students=students, strategy_options={**plain, **more}, training=TrainingOptions(epochs=4))
        for more in ({}, option)
    )
    one, other = (result.cohort.students.state_dict() for result in (ours, theirs))
    assert all(torch.equal(one[name], other[name]) for name in one)
    one, other = ([(m.train, m.val, m.test, m.best_epoch) for m in result.members[:3]] for result in (ours, theirs))
    assert one == other


@pytest.mark.parametrize(
    ("options", "option", "num_students", "idle"),
    [
        ({"direction": "best"}, {"mix": "logits"}, 3, True),
        ({}, {"mix": "logits"}, 3, False),
        ({}, {"mix": "logits"}, 2, True),
        ({}, {"gate": "agreement"}, 3, False),
        ({}, {"gate": "agreement"}, 2, True),
        ({"temperature": 1.0}, {"scale_by_temperature": False}, 3, True),
        ({"temperature": 2.0}, {"scale_by_temperature": False}, 3, False),
        ({"weight": 0.0}, {"temperature": 2.0}, 3, True),
        ({"weight": 0.0}, {"target_temperature": 2.0}, 3, True),
        ({"weight": 0.0}, {"gate": "confidence"}, 3, True),
        ({"weight": 0.0}, {"mix": "logits"}, 3, True),
        ({"targets": "train", "weighting": "attention"}, {"coordinator_inputs": "eval"}, 3, True),
        ({"targets": "eval", "weighting": "attention"}, {"coordinator_inputs": "eval"}, 3, False),
    ],
)
def test_an_option_is_said_to_have_no_effect_where_it_changes_no_term(options, option, num_students, idle):
    plain, step = terms_of(options, num_students)
    of_training_pass = {"targets": step.logits.detach()} if options.get("targets") == "train" else {}
    plain, changed = (terms_of({**options, **more}, num_students, **of_training_pass)[0] for more in ({}, option))
    assert all(torch.equal(plain[name], changed[name]) for name in plain) == idle
    resolved = parse_options(GMLOptions, {**options, **option}).resolved(100, "node")
    assert bool(set(option) & set(resolved.without_effect(num_students))) == idle


def test_before_the_exchange_nothing_is_observed_and_nothing_logged():
    bench = Bench.of("gml", "node", "single-label", 3, {"weighting": "consensus"})
    step = bench.step(range(3), ramp=0.0)
    assert "mutual" not in bench.strategy.loss_terms(step)
    assert not bench.strategy.coordinator.predicted.any()
    assert "exchange" not in step.log and "weights" not in step.log
    bench.strategy.loss_terms(bench.step(range(3)))
    assert bench.strategy.coordinator.predicted.any()
