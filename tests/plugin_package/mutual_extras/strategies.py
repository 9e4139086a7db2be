"""A strategy: students agree with the mean of all of them."""

from torch import Tensor

from dgl_mutual.strategies import ExchangeOptions, ExchangeStrategy, Step


class AgreementOptions(ExchangeOptions):
    """Options of `Agreement`."""

    strength: float = 0.5
    """How strongly members are drawn to the mean."""


class Agreement(ExchangeStrategy):
    """loss_i = CE(z_i[L], y[L]) + strength * lambda T^2 KL(mean_j p_j || p_i)."""

    Options = AgreementOptions
    options: AgreementOptions

    def loss_terms(self, step: Step) -> dict[str, Tensor]:
        mean = self.distribution.probabilities(step.targets[:, step.exchange], self.options.peers_temperature).mean(0, keepdim=True)
        return {"supervised": self.supervised(step), "agreement": self.options.strength * self.imitation(step, mean)}
