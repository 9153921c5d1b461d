"""Two integers of 4 bits in one byte, as ONNX Runtime's operators for block-wise quantised weights read them."""

import torch
from torch import Tensor

_OFFSET = 8  # the nibble that represents 0


def pack(codes: Tensor) -> Tensor:
    """Integers from -8 to 7, ``(rows, width)`` with an even width, as uint8, ``(rows, width / 2)``.

    The first integer of a pair is in the low four bits; a stored nibble is the integer plus 8.
    """
    nibbles = (codes + _OFFSET).to(torch.uint8)
    return nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)


def unpack(packed: Tensor) -> Tensor:
    """The integers that `pack` has packed, int8."""
    pairs = torch.stack([packed & 15, packed >> 4], dim=-1)
    return pairs.flatten(1).to(torch.int8) - _OFFSET
