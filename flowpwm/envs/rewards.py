"""The soft indicator that the DeepMind Control Suite builds its rewards from.

Definition: Tassa et al., "DeepMind Control Suite", arXiv:1801.00690, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float64

Decay = Literal["gaussian", "linear", "quadratic"]

# What a distance of d margins is worth, when one margin is worth v.
_DECAYS: dict[Decay, Callable[[np.ndarray, float], np.ndarray]] = {
    "gaussian": lambda d, v: np.exp(-0.5 * np.square(d * math.sqrt(-2.0 * math.log(v)))),
    "linear": lambda d, v: np.maximum(0.0, 1.0 - d * (1.0 - v)),
    "quadratic": lambda d, v: np.maximum(0.0, 1.0 - np.square(d * math.sqrt(1.0 - v))),
}


def tolerance(
    x: Float64[np.ndarray, "*shape"],
    low: float = 0.0,
    high: float = 0.0,
    *,
    margin: float = 0.0,
    decay: Decay = "gaussian",
    value_at_margin: float = 0.1,
) -> Float64[np.ndarray, "*shape"]:
    """1 where `low <= x <= high`, falling to `value_at_margin` at `margin` outside.

    Without a margin it is 0 outside. Beyond the margin a "gaussian" goes on falling for ever;
    "linear" and "quadratic" reach 0 and stay there.
    """
    if margin == 0.0:
        return ((low <= x) & (x <= high)).astype(np.float64)
    distance = np.maximum(np.maximum(low - x, x - high), 0.0)
    return _DECAYS[decay](distance / margin, value_at_margin)
