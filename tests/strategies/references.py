"""The loss terms of each strategy once more, sample by sample in NumPy and SciPy, written from the formulas and not from the code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit, log_softmax, rel_entr, softmax

from dgl_mutual.strategies.base.step import Step
from dgl_mutual.strategies.base.strategy import Strategy


class Numbers:
    """A step as NumPy arrays, with the distribution's functions in their textbook form."""

    def __init__(self, step: Step, strategy: Strategy) -> None:
        self.options = strategy.options
        self.strategy = strategy
        self.active = step.active
        self.z = step.logits.detach().numpy()
        self.targets = step.targets.numpy()
        self.y = step.labels.numpy()
        self.labelled = step.labelled.numpy()
        self.hidden = [[state.detach().numpy() for state in states] for states in step.hidden]
        self.embeddings = [embedding.detach().numpy() for embedding in step.embeddings]
        source, destination = (ends.long().numpy() for ends in (step.batch.pattern.indices, step.batch.pattern.rows))
        self.edges = list(zip(source, destination, strict=True))
        self.num_nodes = step.batch.num_nodes
        self.single = self.y.ndim == 1
        self.num_students = strategy.setting.num_students

    def p(self, z, temperature=1.0):
        return softmax(z / temperature, axis=-1) if self.single else expit(z / temperature)

    def kl(self, target, own):
        """Of probabilities, per sample."""
        if self.single:
            return rel_entr(target, own).sum(-1)
        return (rel_entr(target, own) + rel_entr(1 - target, 1 - own)).mean(-1)

    def entropy(self, z):
        p = self.p(z)
        return -(p * np.log(p)).sum(-1) if self.single else -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean(-1)

    def nll(self, z, sample):
        """Of each known label of one sample."""
        if self.single:
            return [-log_softmax(z[sample])[self.y[sample]]]
        p = self.p(z[sample])
        return [-np.log(p[c] if self.y[sample, c] == 1 else 1 - p[c]) for c in range(len(p)) if not np.isnan(self.y[sample, c])]

    def ce(self, z):
        return np.mean([value for sample in self.labelled for value in self.nll(z, sample)])

    @property
    def supervised(self):
        return np.array([self.ce(z) for z in self.z])

    def imitation(self, targets):
        """lambda T^2 mean KL(target || own) of each active member, over all samples."""
        temperature = self.options.temperature
        scale = self.options.weight * temperature**2
        return np.array([scale * self.kl(t, self.p(z, temperature)).mean() for t, z in zip(targets, self.z, strict=True)])

    def weights_of(self, module):
        return {name: value.detach().numpy() for name, value in module.named_parameters()}


def independent(n):
    return {"supervised": n.supervised}


def dml(n):
    p = [n.p(z) for z in n.targets]
    mutual = [np.mean([n.kl(p[j], n.p(n.z[i])).mean() for j in n.active if j != i]) for i in n.active]
    return {"supervised": n.supervised, "mutual": mutual}


def gml(n):
    weights = n.weights_of(n.strategy.coordinator)
    students = range(n.num_students)

    def scores(z):
        evidence = np.concatenate([z, -n.entropy(z)[..., None]], axis=-1)
        asked, offered = evidence @ weights["query.weight"].T, evidence @ weights["key.weight"].T
        return np.einsum("ivh,jvh->ijv", asked, offered) / np.sqrt(offered.shape[-1])

    def peer_weights(z):
        s = scores(z)
        others = [[j for j in students if j != i] for i in students]
        return others, [softmax(s[i, others[i]], axis=0) for i in students]

    def mixes(values, weigh):
        return [np.einsum("jv,jvc->vc", w, values[peers]) for peers, w in zip(*peer_weights(weigh), strict=True)]

    ensemble = np.einsum("jv,jvc->vc", softmax(scores(n.z).mean(0), axis=0), n.z)
    from_uniform = -np.mean([np.log(w * len(w)) for w in peer_weights(n.z[:, n.labelled])[1]])
    return {
        "supervised": n.supervised,
        "mutual": n.imitation(mixes(n.p(n.targets, 0.5), n.targets)),
        "coordinator": np.mean([n.ce(z) for z in (*mixes(n.z, n.z), ensemble)]) + n.options.uniform_kl_weight * from_uniform,
    }


def kd(n):
    if n.active == (n.num_students,):
        return independent(n)
    teacher = n.p(n.targets[n.num_students], 2.0)
    return {"supervised": n.supervised, "distillation": n.imitation([teacher] * n.num_students)}


def own_predictions(n):
    return {"supervised": n.supervised, "consistency": n.imitation([n.p(n.targets[k]) for k in n.active])}


def pseudo_label(n):
    terms = []
    for index, k in enumerate(n.active):
        p, own, values = n.p(n.targets[k]), n.p(n.z[index]), []
        for v in sorted(set(range(len(p))) - set(n.labelled)):
            if n.single:
                values.append(-np.log(own[v, p[v].argmax()]) if p[v].max() >= n.options.threshold else 0.0)
            else:
                for c in range(p.shape[1]):
                    q, mine = (p[v, c], own[v, c]) if p[v, c] > 0.5 else (1 - p[v, c], 1 - own[v, c])
                    values.append(-np.log(mine) if q >= n.options.threshold else 0.0)
        terms.append(np.mean(values))
    return {"supervised": n.supervised, "pseudo_label": terms}


def self_distillation(n):
    if 0 not in n.active:
        return independent(n)
    return {"supervised": n.supervised, "distillation": n.imitation([n.p(z) for z in n.targets[n.num_students :]])}


def ensemble_distillation(n):
    if 0 not in n.active:
        return independent(n)
    mean = np.mean([n.p(z, 2.0) for z in n.targets[n.num_students :]], axis=0)
    return {"supervised": n.supervised, "distillation": n.imitation([mean] * n.num_students)}


def kdcl(n):
    target = n.targets.mean(0)
    for v in n.labelled:
        if n.single:  # minlogit
            target[v] = [min(z[v, c] - z[v, n.y[v]] for z in n.targets) for c in range(target.shape[1])]
        else:  # naive
            target[v] = min(n.targets, key=lambda z: sum(n.nll(z, v)))[v]
    return {"supervised": n.supervised, "mutual": n.imitation([n.p(target, 2.0)] * n.num_students)}


def okddip(n):
    students = range(n.num_students)
    p = n.p(n.targets[: n.num_students], 3.0)
    receive = [module.weight.detach().numpy() for module in n.strategy.receive]
    send = [module.weight.detach().numpy() for module in n.strategy.send]
    targets = []
    for a in students:
        similar = [((n.embeddings[a] @ receive[a].T) * (n.embeddings[b] @ send[b].T)).sum(1) for b in students]
        others = [b for b in students if b != a]
        alpha = softmax(np.array([similar[b] for b in others]), axis=0)
        targets.append(sum(weight[:, None] * p[b] for weight, b in zip(alpha, others, strict=True)))
    return {"supervised": n.supervised, "mutual": n.imitation([*targets, p.mean(0)])}


def oad(n):
    p = n.p(n.targets, 3.0)
    adjacency = np.eye(n.num_nodes)
    for u, v in n.edges:
        adjacency[v, u] = 1
    scale = 1 / np.sqrt(adjacency.sum(1))
    propagate = scale[:, None] * adjacency * scale
    states = [hidden[-1] for hidden in n.hidden]

    def judge(i, h):
        w = n.weights_of(n.strategy.discriminators[i])
        hidden = np.maximum(propagate @ h @ w["convolution.weight"] + w["convolution.bias"], 0)
        return expit(hidden @ w["last.weight"].T + w["last.bias"])[:, 0]

    others = [np.mean([p[j] for j in n.active if j != i], axis=0) for i in n.active]
    telling = [-np.log(judge(i, states[i - 1])).mean() - np.log(1 - judge(i, states[i])).mean() for i in n.active]
    return {
        "supervised": n.supervised,
        "mutual": n.imitation(others),
        "adversarial": [-np.log(judge(i, states[i])).mean() for i in n.active],
        "discriminator": sum(telling),
    }


def alignahead(n):
    def structure(h):
        around = {}
        for u, v in n.edges:
            around.setdefault(v, {})[u] = np.exp(-np.abs(h[v] - h[u]).sum() / 100)
        return {v: dict(zip(near, softmax(list(near.values())), strict=True)) for v, near in around.items()}

    layers = [[*hidden, z] if len(z) == n.num_nodes else hidden for hidden, z in zip(n.hidden, n.z, strict=True)]
    structures = [[structure(h) for h in states] for states in layers]
    alignment = []
    for i in n.active:
        apart = []
        for j in n.active:
            for layer, theirs in enumerate(structures[j]):
                own = structures[i][(layer + 1) % len(structures[i])]
                if j != i:
                    apart.append(np.mean([sum(rel_entr(theirs[v][u], own[v][u]) for u in theirs[v]) for v in theirs]))
        alignment.append(np.mean(apart))
    return {"supervised": n.supervised, "alignment": alignment}


def bgnn(n):
    (k,) = n.active
    if k == 0:
        return independent(n)
    share = (n.z.shape[-1] - 1) / n.z.shape[-1] if n.single else 1 / 2
    boosted = []
    for v in n.labelled:
        for index, value in enumerate(n.nll(n.z[0], v)):
            boosted.append((np.prod([np.exp(-n.nll(n.targets[j], v)[index]) ** -share for j in range(k)]), value))
    teacher = n.targets[k - 1]
    w = n.weights_of(n.strategy.temperatures[k - 1])
    evidence = np.concatenate([teacher, n.entropy(teacher)[:, None]], axis=1)
    inner = np.maximum(evidence @ w["first.weight"].T + w["first.bias"], 0)
    temperature = 1 + 3 * expit(inner @ w["last.weight"].T + w["last.bias"])
    return {
        "supervised": [sum(weight * value for weight, value in boosted) / sum(weight for weight, _ in boosted)],
        "distillation": [n.kl(n.p(teacher, temperature), n.p(n.z[0], temperature)).mean()],
    }


#: Strategy -> its terms in NumPy. A strategy that is not here is not tested, and a test says so.
REFERENCES: dict[str, Callable[[Numbers], dict[str, object]]] = {
    "alignahead": alignahead,
    "bgnn": bgnn,
    "dml": dml,
    "ensemble-distillation": ensemble_distillation,
    "gml": gml,
    "independent": independent,
    "kd": kd,
    "kdcl": kdcl,
    "oad": oad,
    "mean-teacher": own_predictions,
    "okddip": okddip,
    "pseudo-label": pseudo_label,
    "self-distillation": self_distillation,
    "snapshot-distillation": own_predictions,
}
