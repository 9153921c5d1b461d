import subprocess
import sys

import pytest

from winnow.files.conf_folder import CONF


@pytest.mark.slow
def test_random_command_lines_end_in_a_plan_or_in_one_short_message(tmp_path):
    """In a process of its own, since it replaces the demo data by small ones."""
    command = [sys.executable, "-m", "tests.config.random_configurations", "300", "--seed", "11"]
    ended = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stdout
