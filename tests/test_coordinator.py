from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dgl_mutual.coordinator import Coordinator, CoordinatorConfig, Weighting, WeightingOptions, mix
from dgl_mutual.distributions import Categorical
from dgl_mutual.errors import UsageError
from dgl_mutual.options import parse_options
from dgl_mutual.strategies.gml import GMLOptions
from dgl_mutual.weightings import WEIGHTINGS, make_coordinator
from dgl_mutual.weightings.attention import Attention
from dgl_mutual.weightings.classwise import Classwise

K, N, C, H = 4, 30, 3, 6
every_weighting = pytest.mark.parametrize("weighting", WEIGHTINGS)


def config_of(weighting: str, num_students: int = K, **options: float) -> CoordinatorConfig:
    width = {"hidden": H} if "hidden" in WEIGHTINGS[weighting].Options.model_fields else {}
    return CoordinatorConfig(weighting, num_students, C, N, options={**width, **options})


def make(weighting: str, num_students: int = K) -> Coordinator:
    torch.manual_seed(0)
    return make_coordinator(config_of(weighting, num_students)).double()


def disturbed(weighting: str, num_students: int = K) -> Coordinator:
    coordinator = make(weighting, num_students)
    for parameter in coordinator.parameters():
        torch.nn.init.normal_(parameter)
    random = torch.Generator().manual_seed(2)
    coordinator.observe(torch.randn(num_students, N, C, dtype=torch.float64, generator=random), torch.arange(N))
    return coordinator


@pytest.fixture
def evidence() -> tuple[Tensor, Tensor, Tensor]:
    logits = 2 * torch.randn(K, N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return logits, Categorical().confidence(logits), torch.arange(N)


@every_weighting
def test_weights_are_shares(weighting: str, evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    for coordinator in (make(weighting), disturbed(weighting)):
        peers, ensemble = coordinator.peer_weights(*evidence), coordinator.ensemble_weights(*evidence)
        assert peers.shape[:2] == (K, K) and ensemble.shape[:2] == (1, K)
        assert (peers.diagonal() == 0).all(), "nobody teaches itself"
        assert (peers >= 0).all() and (ensemble > 0).all()
        torch.testing.assert_close(peers.sum(1), torch.ones_like(peers.sum(1)))
        torch.testing.assert_close(ensemble.sum(1), torch.ones_like(ensemble.sum(1)))
        torch.testing.assert_close(coordinator.all_weights(*evidence), torch.cat([peers, ensemble]), rtol=0, atol=0)


@pytest.mark.parametrize("weighting", [name for name in WEIGHTINGS if name != "confidence"])
def test_starts_as_the_uniform_mean(weighting: str, evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    coordinator = make(weighting)
    logits = evidence[0]
    others = torch.stack([logits[[j for j in range(K) if j != i]].mean(0) for i in range(K)])
    torch.testing.assert_close(mix(coordinator.peer_weights(*evidence), logits), others)
    torch.testing.assert_close(mix(coordinator.ensemble_weights(*evidence), logits)[0], logits.mean(0))
    for parameter in coordinator.parameters():
        torch.nn.init.normal_(parameter)
    coordinator.observe(logits, evidence[2])
    coordinator.reset_parameters()
    torch.testing.assert_close(mix(coordinator.ensemble_weights(*evidence), logits)[0], logits.mean(0))


@pytest.mark.parametrize("weighting", ["attention", "classwise", "transductive"])
def test_learned_weightings_have_a_gradient_at_the_start(weighting: str, evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    coordinator = make(weighting)
    labels = torch.arange(N) % C
    loss = Categorical().supervised(mix(coordinator.ensemble_weights(*evidence), evidence[0])[0], labels)
    gradients = torch.autograd.grad(loss, list(coordinator.parameters()), allow_unused=True)
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@every_weighting
def test_samples_are_weighed_one_by_one(weighting: str, evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    """Permuting the samples permutes the weights, and some of them alone have the same weights as within all samples."""
    coordinator = disturbed(weighting)
    for weigh in (coordinator.peer_weights, coordinator.ensemble_weights):
        full = weigh(*evidence).expand(-1, -1, N, -1)
        for chosen in (torch.randperm(N, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 29])):
            part = weigh(evidence[0][:, chosen], evidence[1][:, chosen], evidence[2][chosen])
            torch.testing.assert_close(part.expand(-1, -1, len(chosen), -1), full[:, :, chosen])


@pytest.mark.parametrize("weighting", ["attention", "classwise", "confidence", "uniform"])
def test_inductive_weightings_know_no_student_by_place(weighting: str, evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    coordinator = disturbed(weighting)
    order = torch.tensor([2, 0, 3, 1])
    permuted = coordinator.peer_weights(evidence[0][order], evidence[1][order], evidence[2])
    torch.testing.assert_close(permuted, coordinator.peer_weights(*evidence)[order][:, order])


def test_attention_scores_are_scaled_dot_products(evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    coordinator = disturbed("attention")
    assert isinstance(coordinator, Attention)
    logits, confidence, _ = evidence
    x = torch.cat([logits, confidence.unsqueeze(-1)], dim=-1)
    asked, offered = coordinator.query(x), coordinator.key(x)
    expected = torch.einsum("ivh,jvh->ijv", asked, offered) / math.sqrt(H)
    torch.testing.assert_close(coordinator.scores(*evidence).squeeze(-1), expected)
    own = torch.eye(K, dtype=torch.bool).unsqueeze(-1)
    torch.testing.assert_close(coordinator.peer_weights(*evidence).squeeze(-1), torch.softmax(expected.masked_fill(own, -math.inf), dim=1))
    torch.testing.assert_close(coordinator.ensemble_weights(*evidence)[0].squeeze(-1), torch.softmax(expected.mean(0), dim=0))


def test_classwise_weights_are_normalised_sigmoids(evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    coordinator = disturbed("classwise")
    assert isinstance(coordinator, Classwise)
    x = torch.cat([evidence[0], evidence[1].unsqueeze(-1)], dim=-1)
    w = torch.sigmoid(coordinator.last(torch.relu(coordinator.first(x))))
    assert w.shape == (K, N, C)
    torch.testing.assert_close(coordinator.ensemble_weights(*evidence)[0], w / w.sum(0))
    for i in range(K):
        others = [j for j in range(K) if j != i]
        torch.testing.assert_close(coordinator.peer_weights(*evidence)[i, others], w[others] / w[others].sum(0))


def test_transductive_weights_are_a_softmax_of_the_papers_form(evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    coordinator = disturbed("transductive")
    chosen = torch.tensor([4, 0, 7])
    scores = torch.einsum("kv,kvh,khc->kvc", evidence[1][:, chosen], coordinator.chi[:, chosen], coordinator.phi)
    weights = coordinator.ensemble_weights(evidence[0][:, chosen], evidence[1][:, chosen], chosen)
    torch.testing.assert_close(weights[0], torch.softmax(scores, dim=0))


def test_confident_peers_weigh_more(evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    coordinator = make_coordinator(config_of("confidence", temperature=0.2))
    weights = coordinator.ensemble_weights(*evidence)[0].squeeze(-1)
    torch.testing.assert_close(weights, torch.softmax(evidence[1] / 0.2, dim=0))
    assert torch.equal(weights.argmax(0), evidence[1].argmax(0))


@every_weighting
def test_two_students_have_one_peer(weighting: str) -> None:
    logits = torch.randn(2, N, C, dtype=torch.float64)
    weights = disturbed(weighting, 2).peer_weights(logits, Categorical().confidence(logits), torch.arange(N))
    torch.testing.assert_close(mix(weights, logits), logits.flip(0))


@every_weighting
def test_one_student_is_its_own_ensemble(weighting: str) -> None:
    logits = torch.randn(1, N, C, dtype=torch.float64)
    weights = disturbed(weighting, 1).ensemble_weights(logits, Categorical().confidence(logits), torch.arange(N))
    torch.testing.assert_close(mix(weights, logits)[0], logits[0])


def test_mix_is_the_weighted_sum() -> None:
    weights, values = torch.randn(2, K, N, 1, dtype=torch.float64), torch.randn(K, N, C, dtype=torch.float64)
    torch.testing.assert_close(mix(weights, values), torch.einsum("rkn,knc->rnc", weights.squeeze(-1), values))
    weights = torch.randn(2, K, N, C, dtype=torch.float64)
    torch.testing.assert_close(mix(weights, values), torch.einsum("rknc,knc->rnc", weights, values))
    torch.testing.assert_close(mix(torch.full((2, K, 1, 1), 0.25, dtype=torch.float64), values), values.mean(0).expand(2, N, C))


@every_weighting
def test_extreme_logits_keep_weights_finite(weighting: str) -> None:
    logits = 1e4 * torch.randn(K, N, C, dtype=torch.float64)
    assert disturbed(weighting).peer_weights(logits, Categorical().confidence(logits), torch.arange(N)).isfinite().all()


@pytest.mark.parametrize("weighting", ["attention", "classwise", "transductive"])
def test_learns_whom_to_trust(weighting: str) -> None:
    """Student 0 is right and sure, the others sure and wrong or unsure: its weight grows, and the ensemble becomes right."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, C, (N,), generator=random)
    right = torch.nn.functional.one_hot(labels, C).double()
    wrong = torch.nn.functional.one_hot((labels + 1) % C, C).double()
    noise = 0.1 * torch.randn(3, N, C, dtype=torch.float64, generator=random)
    logits = (torch.stack([4 * right, 2.5 * wrong, 2.5 * wrong]) + noise).requires_grad_()
    confidence = Categorical().confidence(logits).detach()
    coordinator = make(weighting, 3)
    optimizer = torch.optim.Adam(coordinator.parameters(), lr=0.05)

    def trust() -> Tensor:
        """Weight of student 0 on the right class, mean over samples."""
        weights = coordinator.ensemble_weights(logits, confidence, torch.arange(N))[0, 0]
        return weights.expand(N, C)[torch.arange(N), labels].mean()

    before = trust()
    for _ in range(150):
        optimizer.zero_grad()
        mixed = mix(coordinator.ensemble_weights(logits.detach(), confidence, torch.arange(N)), logits.detach())[0]
        Categorical().supervised(mixed, labels).backward()
        optimizer.step()
    assert logits.grad is None
    torch.testing.assert_close(before, torch.tensor(1 / 3, dtype=torch.float64))
    assert trust() > 0.8
    assert (mixed.argmax(-1) == labels).all()


def test_transductive_needs_a_fixed_set_of_samples() -> None:
    with pytest.raises(UsageError, match=r"'transductive'.*full-batch node task.*'attention' or 'classwise'"):
        make_coordinator(CoordinatorConfig("transductive", K, C))


def test_an_unknown_weighting_lists_the_choices() -> None:
    with pytest.raises(UsageError, match=r"Unknown weighting 'atention'. Did you mean 'attention'\?.*uniform"):
        make_coordinator(CoordinatorConfig("atention", K, C))


@every_weighting
def test_a_coordinator_keeps_its_config(weighting: str) -> None:
    config = config_of(weighting)
    assert make_coordinator(config).config == config


def test_each_weighting_has_options_of_its_own() -> None:
    assert {name: set(weighting_class.Options.model_fields) for name, weighting_class in WEIGHTINGS.items()} == {
        **{name: {"hidden"} for name in ("attention", "classwise", "transductive")},
        **{"confidence": {"temperature"}, "consensus": {"power", "rounds", "prior", "memory"}, "cross-fitted": set(), "uniform": set()},
    }
    assert all(weighting_class.name == name for name, weighting_class in WEIGHTINGS.items())
    with pytest.raises(UsageError, match=r"Unknown option 'strategy_options.weighting_options.hidden'"):
        make_coordinator(CoordinatorConfig("uniform", K, C, options={"hidden": 4}))
    with pytest.raises(UsageError, match=r"'strategy_options.weighting_options.temperature' = 0: .*at least 0.001"):
        make_coordinator(CoordinatorConfig("confidence", K, C, options={"temperature": 0}))


class FirstOptions(WeightingOptions):
    bonus: float = 1.0


class First(Weighting):
    """Student 0 weighs more, by a bonus."""

    name = "first"
    Options = FirstOptions
    options: FirstOptions

    def scores(self, logits: Tensor, confidence: Tensor, samples: Tensor) -> Tensor:
        scores = logits.new_zeros(len(logits), len(logits), 1, 1)
        scores[:, 0] = self.options.bonus
        return scores


@pytest.mark.parametrize("given", [First, f"{__name__}:First"])
def test_a_custom_weighting_is_a_class_or_an_import_path(given: str | type[Weighting], evidence: tuple[Tensor, Tensor, Tensor]) -> None:
    options = GMLOptions(weighting=given, weighting_options={"bonus": 2}).resolved(10, "node")
    assert options.model_dump(mode="json")["weighting"] == f"{__name__}:First"
    assert options.weighting_options == {"bonus": 2.0}
    weights = make_coordinator(CoordinatorConfig(given, K, C, options=options.weighting_options)).ensemble_weights(*evidence)
    torch.testing.assert_close(weights.flatten(), torch.softmax(torch.tensor([2.0, 0, 0, 0], dtype=torch.float64), 0))


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        ("atention", {}, "Did you mean 'attention'"),
        (Coordinator, {}, "is not a subclass of dgl_mutual.Weighting"),
        (f"{__name__}:Last", {}, "has no 'Last'"),
        (First, {"bonuss": 1}, "Unknown option 'strategy_options.weighting_options.bonuss'. Did you mean 'bonus'"),
        ("uniform", {"hidden": 3}, "Unknown option 'strategy_options.weighting_options.hidden'"),
    ],
)
def test_a_wrong_weighting_is_refused_when_options_are_read(given: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_options(GMLOptions, {"weighting": given, "weighting_options": options}, "strategy_options")
