"""Probabilities from logits, in float64, so that they do not depend on the instructions of a processor."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """exp(z_i) / sum_j exp(z_j) over the last axis; logits are finite, ``(..., classes)``."""
    shifted = logits.astype(np.float64)
    weights = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    """1 / (1 + exp(-z)) of each logit, by a form that cannot overflow."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits.astype(np.float64))
