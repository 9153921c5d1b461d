"""The compiled operators, once for each instruction set that this processor has."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.operators import ISA
from winnow.engine.library import instruction_set, library
from winnow.errors import UserError

NAMES = {"x86_64": ("avx512_vnni", "avx_vnni", "avx2"), "aarch64": ("neon_dotprod",)}.get(platform.machine(), ())


@pytest.fixture(scope="session")
def compiled() -> Path:
    """The library; SPARSE_LIBRARY names one that was built with other flags."""
    return Path(os.environ.get("SPARSE_LIBRARY") or library())


@pytest.fixture(scope="module", params=NAMES)
def instructions(request: pytest.FixtureRequest, compiled: Path) -> Iterator[str]:
    """The instruction set of all kernels that a test makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ISA, request.param)
        try:
            assert instruction_set(compiled) == request.param
        except UserError:
            pytest.skip(f"this processor does not have {request.param}")
        yield request.param
