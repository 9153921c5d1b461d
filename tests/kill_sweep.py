"""Kill a real sweep with ``kill -9`` at random moments, start it again, compare it with one that was left alone.

``python -m tests.kill_sweep --seed 1 --kills 2 [--command-only] [LAUNCHER SETTINGS]`` prints what it saw, and
exits with status 1 unless every row and all weights are equal to the bit, and no job ran again that had ended.
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

from tests.kill_and_resume import differences, end_of, start, steps_logged, wait
from tests.toys import review_tables
from winnow.runs.sweep_status import job_states

SWEEP = [
    *("-m", "task=text_classification", "task.data.batch_size=8", "model=tiny", "model.config.hidden_size=64"),
    *("recipe=dense,oneshot80,prune80", "teacher=none,dense", "seed=1", "recipe.num_epochs=2", "dense.num_epochs=2"),
    *("trainer.accelerator=cpu", "trainer.num_workers=0", "trainer.checkpoint_every=3", "trainer.log_every_n_steps=1"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--command-only", action="store_true", help="the jobs of a launcher may live on")
    options, launcher = parser.parse_known_args()
    kill = kill_command if options.command_only else kill_all
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if kill_sweep(Path(folder), options.seed, options.kills, launcher, kill) else 1)


def kill_all(process: subprocess.Popen[str]) -> None:
    """All processes of a sweep, also those that a launcher has put in groups of their own."""
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
    """What was typed alone; its output may stay open as long as jobs live."""
    process.kill()
    process.wait()


def kill_sweep(
    folder: Path, seed: int, kills: int, launcher: Sequence[str] = (), kill: Callable[..., None] = kill_all
) -> bool:
    """True if the sweep that was killed ended as the one that was left alone, and ran nothing twice."""
    review_tables(folder / "data", train=320, held_out=32)
    command = [*SWEEP, f"task.data.path={folder}/data"]
    wait(start(*command, f"output_dir={folder}/alone"))
    alone = next((folder / "alone" / "sweeps").iterdir())
    runs, steps = [state.job["folder"] for state in job_states(alone)], steps_of_all(folder / "alone")
    print(f"left alone: {len(runs)} jobs, {steps} steps")

    killed = folder / "killed" / "sweeps" / alone.name
    command += [*launcher, f"output_dir={folder}/killed"]
    ended: dict[Path, float] = {}
    for step in sorted(random.Random(seed).sample(range(1, steps), kills)):
        running = run_until(command, killed, step, kill)
        ended |= {run: when for run, when in good_rows(killed).items() if run not in ended}
        print(f"killed at step {step} of {steps}: {len(ended)} jobs had ended, {running} ran", flush=True)
    print(*(line for line in wait(start(*command)).splitlines() if line.startswith("sweep:")), sep="\n")
    again = sum(good_rows(killed)[run] != when for run, when in ended.items())
    unequal = [run for run in runs if differences(comparable(killed / run), comparable(alone / run))]
    print(f"{len(runs) - len(unequal)} of {len(runs)} jobs equal, {again} ran again {unequal or ''}")
    return not unequal and not again


def run_until(command: Sequence[str], sweep: Path, step: int, kill: Callable[..., None]) -> int:
    """Start a sweep and kill it once it has taken so many steps in all, and one now; how many jobs it ran then."""
    outputs = sweep.parents[1]
    before = steps_of_all(outputs)
    process = start(*command)
    while process.poll() is None and steps_of_all(outputs) < max(step, before + 1):
        time.sleep(0.02)
    running = sum(state.word == "running" for state in job_states(sweep))
    kill(process)
    return running


def steps_of_all(outputs: Path) -> int:
    """Optimizer steps of all runs so far, those of teachers too."""
    return sum(steps_logged(path.parent.parent) for path in outputs.glob("*/**/logs/metrics.csv"))


def good_rows(sweep: Path) -> dict[Path, float]:
    """When each job that has ended did so."""
    states = job_states(sweep) if sweep.is_dir() else []
    return {sweep / state.job["folder"]: state.ended for state in states if state.word == "done"}


def comparable(run: Path) -> dict[str, Any]:
    """What a run leaves, without its times."""
    row = json.loads((run / "result.json").read_text())
    measured = ("metrics", "sparsity", "sparsity_by_layer", "nonzero_parameters", "fingerprint", "cell")
    return {**end_of(run), **{name: row[name] for name in measured}}


if __name__ == "__main__":
    main()
