"""Kill a real sweep with ``kill -9`` at random steps, resume it, and compare it with an uninterrupted sweep.

``python -m tests.kill_sweep --seed 1 --kills 2 [--command-only] [LAUNCHER SETTINGS]`` prints the state at each kill. It
exits with status 1 unless every row and all weights are bit-identical and no finished job ran again.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.kill_and_resume import differences, final_state, start, steps_logged, wait
from tests.toys import review_tables
from winnow.files.atomic import files_below
from winnow.loggers.history import METRICS
from winnow.runs.sweep_status import job_states

SWEEP = [
    *("-m", "task=text_classification", "task.data.batch_size=8", "model=tiny", "model.config.hidden_size=64"),
    *("recipe=dense,oneshot80,prune80", "teacher=none,dense", "seed=1", "recipe.num_epochs=2", "dense.num_epochs=2"),
    *("trainer.accelerator=cpu", "trainer.num_workers=0", "trainer.checkpoint_every=3", "trainer.log_every_n_steps=1"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the random steps")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--command-only", action="store_true", help="do not kill the jobs of a launcher")
    options, launcher = parser.parse_known_args()
    kill = kill_command if options.command_only else kill_all
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if kill_sweep(Path(folder), options.seed, options.kills, launcher, kill) else 1)


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill all processes of a sweep, including those that a launcher started in other process groups."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    children: dict[int, list[int]] = {}
    for pid, parent in (map(int, line.split()) for line in listed.splitlines()[1:]):
        children.setdefault(parent, []).append(pid)
    family = [process.pid]
    for pid in family:
        family += children.get(pid, [])
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.communicate()


def kill_command(process: subprocess.Popen[str]) -> None:
    """Kill the command only; the running jobs of its launcher may keep its output open."""
    process.kill()
    process.wait()


def kill_sweep(
    folder: Path, seed: int, kills: int, launcher: Sequence[str] = (), kill: Callable[..., None] = kill_all
) -> bool:
    """True if the killed sweep is equal to the uninterrupted one, and no finished job ran again."""
    review_tables(folder / "data", train=320, held_out=32)
    command = [*SWEEP, f"task.data.path={folder}/data"]
    wait(start(*command, f"output_dir={folder}/uninterrupted"))
    uninterrupted = next((folder / "uninterrupted" / "sweeps").iterdir())
    runs = [state.job["folder"] for state in job_states(uninterrupted)]
    steps = steps_of_all(folder / "uninterrupted")
    print(f"uninterrupted: {len(runs)} jobs, {steps} steps")

    killed = folder / "killed" / "sweeps" / uninterrupted.name
    command += [*launcher, f"output_dir={folder}/killed"]
    finished: dict[Path, float] = {}
    for step in sorted(random.Random(seed).sample(range(1, steps), kills)):
        running = run_until(command, killed, step, kill)
        finished |= {run: ended for run, ended in finished_jobs(killed).items() if run not in finished}
        print(f"killed at step {step} of {steps}: {len(finished)} jobs finished, {running} running", flush=True)
    print(*(line for line in wait(start(*command)).splitlines() if line.startswith("sweep:")), sep="\n")
    again = sum(finished_jobs(killed)[run] != ended for run, ended in finished.items())
    unequal = [run for run in runs if differences(comparable(killed / run), comparable(uninterrupted / run))]
    print(f"{len(runs) - len(unequal)} of {len(runs)} jobs equal, {again} ran again {unequal or ''}")
    return not unequal and not again


def run_until(command: Sequence[str], sweep: Path, step: int, kill: Callable[..., None]) -> int:
    """Start a sweep and kill it at a step.

    Args:
        step: in total over all jobs and starts; at least one step is taken after this start.

    Returns:
        The number of jobs that were running.
    """
    outputs = sweep.parents[1]
    before = steps_of_all(outputs)
    process = start(*command)
    try:
        while process.poll() is None and steps_of_all(outputs) < max(step, before + 1):
            time.sleep(0.02)
        return sum(state.word == "running" for state in job_states(sweep))
    finally:
        kill(process)  # after an error too, so that no process is left to the tests that follow


def steps_of_all(outputs: Path) -> int:
    """Optimizer steps of all runs so far, including those of teachers."""
    logs = (path.parent for path in files_below(outputs, METRICS.name) if path.parent.name == METRICS.parent.name)
    return sum(steps_logged(folder.parent) for folder in logs)


def finished_jobs(sweep: Path) -> dict[Path, float]:
    """Run folder of each successful job -> the time at which it ended."""
    states = job_states(sweep) if sweep.is_dir() else []
    return {sweep / state.job["folder"]: state.ended for state in states if state.word == "done"}


def comparable(run: Path) -> dict[str, Any]:
    """The results and the final state of a run, without times."""
    row = json.loads((run / "result.json").read_text())
    measured = ("metrics", "sparsity", "sparsity_by_layer", "nonzero_parameters", "fingerprint", "cell")
    return {**final_state(run), **{name: row[name] for name in measured}}


if __name__ == "__main__":
    main()
