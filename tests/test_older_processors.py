"""What must hold on every processor, with the kernels of one that has neither AVX-512 nor bf16 nor VNNI."""

import os
import subprocess
import sys

import pytest

from winnow.files.conf_folder import CONF

OLDER = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@pytest.mark.slow
def test_stored_teachers_and_deployed_graphs_are_right_on_an_older_processor():
    files = ["tests/models/test_teacher_cache.py", "tests/deployment/test_engines.py", "tests/deployment/test_graph.py"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, **OLDER}
    ended = subprocess.run(command, cwd=CONF.parent, env=environment, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stdout
