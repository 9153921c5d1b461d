"""Tests that must pass on every processor, repeated with kernels for one without AVX-512, bf16 and VNNI."""

import os
import subprocess
import sys

import pytest

from winnow.files.conf_folder import CONF

OLDER_PROCESSOR = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@pytest.mark.slow
def test_cached_teacher_outputs_and_deployed_graphs_are_correct_on_an_older_processor():
    files = [
        "tests/training/test_teacher_cache.py",
        "tests/deployment/test_engines.py",
        "tests/deployment/test_graph.py",
    ]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, **OLDER_PROCESSOR}
    result = subprocess.run(command, cwd=CONF.parent, env=environment, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stdout
