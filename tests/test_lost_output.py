import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from winnow.lost_output import droppable_output
with droppable_output():
    for line in range(3):
        print("x" * 5000, flush=True)
    print("still here", file=sys.stderr)
print("the end" if sys.stdout is sys.__stdout__ else "")
"""


def ended(output, *options):
    return subprocess.run([sys.executable, *options, "-c", PROGRAM], stdout=output, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("options", [(), ("-u",)])
def test_output_to_a_closed_pipe_is_dropped_with_one_note(options):
    reading, writing = os.pipe()
    os.close(reading)
    program = ended(writing, *options)
    os.close(writing)
    note = "note: standard output cannot be written (Broken pipe) and is dropped; the command goes on.\nstill here\n"
    assert program.stderr.startswith(note)
    assert "Traceback" not in program.stderr[: len(note)]


def test_output_to_a_full_disk_is_dropped():
    with Path("/dev/full").open("w") as full:
        assert "(No space left on device) and is dropped" in ended(full).stderr


def test_output_that_can_be_written_is_unchanged():
    program = ended(subprocess.PIPE)
    assert (program.returncode, program.stdout, program.stderr) == (
        0,
        f"{'x' * 5000}\n" * 3 + "the end\n",
        "still here\n",
    )


def test_a_closed_output_does_not_end_the_command():
    program = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, PROGRAM], stderr=subprocess.PIPE)
    assert (program.returncode, program.stderr) == (0, b"still here\n")
