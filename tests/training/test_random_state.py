import random

import numpy as np
import torch

from winnow.training.random_state import random_state, set_random_state


def draws():
    return torch.rand(3).tolist(), torch.randn(3).tolist(), random.gauss(0, 1), np.random.normal(size=3).tolist()


def test_a_restored_random_state_gives_the_same_numbers(tmp_path):
    draws()  # a second half of a pair of normal numbers is kept in the state
    torch.save(random_state(), tmp_path / "state")
    expected = draws()
    draws()
    set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert draws() == expected
