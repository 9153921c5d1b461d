import platform

import pytest
import torch

from winnow.machine import processor

SETS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "avx_vnni", "avx512_vnni", "amx_int8")


@pytest.mark.skipif(platform.system() != "Linux", reason="/proc/cpuinfo is of Linux")
def test_the_instruction_sets_are_those_that_pytorch_finds():
    found = torch.cpu.get_capabilities()
    assert processor()["instruction_sets"] == [name for name in SETS if found.get(name)]
