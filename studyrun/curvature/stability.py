"""The curvature at which an optimizer with momentum loses stability on a quadratic."""

from __future__ import annotations


def momentum_threshold(
    lr: float, momentum: float = 0.0, *, nesterov: bool = False, dampening: float = 0.0, weight_decay: float = 0.0
) -> float:
    """Return the largest stable sharpness of (Nesterov) heavy ball with learning rate η and momentum β.

    On a quadratic of curvature λ the iteration v ← βv + (1 − d)(λ + w)x, x ← x − ηv is stable up to
    (1 − d)(λ + w) = (2 + 2β)/η; with Nesterov's look-ahead up to (2 + 2β)/(η(1 + 2β)). Weight decay w is curvature
    that the loss does not have, so it is taken off. β = 0 gives 2/η. Unit: loss / parameter².

    Source: Cohen et al. 2021, arXiv 2103.00065, Appendix B.
    """
    edge = (2 + 2 * momentum) / lr
    if nesterov:
        edge /= 1 + 2 * momentum
    return edge / (1 - dampening) - weight_decay


def adam_threshold(lr: float, beta1: float) -> float:
    """Return the largest stable preconditioned sharpness of full-batch Adam: (2 + 2β1)/((1 − β1)η).

    Source: Cohen et al. 2022, arXiv 2207.14484, Equation 3; 38/η at β1 = 0.9.
    """
    return (2 + 2 * beta1) / ((1 - beta1) * lr)
