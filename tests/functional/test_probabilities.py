import numpy as np
import pytest

from winnow.functional.probabilities import sigmoid, softmax


def test_probabilities_by_hand():
    assert softmax(np.log([[1.0, 3.0]])).tolist() == [[pytest.approx(0.25), pytest.approx(0.75)]]
    assert sigmoid(np.log([1.0, 3.0])).tolist() == [0.5, pytest.approx(0.75)]


def test_large_logits_do_not_overflow():
    large = np.array([-1e30, 0.0, 1e30], dtype=np.float32)
    assert softmax(large).tolist() == [0.0, 0.0, 1.0]
    assert sigmoid(large).tolist() == [0.0, 0.5, 1.0]
