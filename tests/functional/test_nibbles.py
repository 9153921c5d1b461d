import pytest
import torch

from winnow.functional.nibbles import pack, unpack


def test_the_first_of_two_integers_is_in_the_low_bits_and_eight_is_zero():
    assert pack(torch.tensor([[0, -8], [7, 1]])).tolist() == [[0x08], [0x9F]]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32])
def test_all_pairs_are_unpacked_as_they_were(dtype):
    values = torch.arange(-8, 8, dtype=dtype)
    pairs = torch.cartesian_prod(values, values)
    packed = pack(pairs)
    assert (packed.dtype, packed.unique().numel()) == (torch.uint8, 256)
    assert torch.equal(unpack(packed), pairs.to(torch.int8))
