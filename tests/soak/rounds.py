"""A round: one random training or sweep, left alone, then disturbed and resumed, then with damaged files."""

import shutil
import signal
from collections import Counter
from pathlib import Path
from random import Random

from tests.soak import configurations
from tests.soak.commands import Command, Ended, run
from tests.soak.damage import damage
from tests.soak.states import differences, states
from winnow.files.checksums import SUMS
from winnow.files.run_files import BEST, CHECKPOINTS, RESULT, ended_well

KILL = signal.SIGKILL
_DISTURBANCES = [*5 * [KILL], signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
_START = 6.0  # seconds in which a command imports its packages
_CHECKED = {"model", "deployment", "checkpoints", "cache"}  # folders whose files are checked when they are read


class Round:
    """Plays a round.

    Args:
        folder: empty, for all files of the round.
        data: folder with the tables of `review_tables`.
        random: chooses all but the moments, which are shares of a measured time.

    Attributes:
        title: the recipe and what else differs most.
        counts: what was tried, and how it ended.
        faults: what was lost, or passed over in silence, one line each.
        last_line: of the output of the undisturbed command.
        own: the folder of the training, without its teacher; that of all runs of a sweep.
        answers: the output of each command that has read the undamaged runs.
    """

    def __init__(self, folder: Path, data: Path, random: Random) -> None:
        self.work, self.ended, self.killed = (folder / name for name in ("work", "ended", "killed"))
        self.random = random
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.answers: dict[str, str] = {}
        kind = configurations.sweep if random.random() < 1 / 4 else configurations.training
        self.own = self.work if kind is configurations.sweep else self.work / "run"
        resuming = [] if kind is configurations.sweep else [f"hydra.run.dir={self.own}", "resume=true"]
        self.command = ["train", *kind(random), f"task.data.path={data}", f"output_dir={self.work}", *resuming]
        words = ("-m", "recipe=", "teacher=", "trainer=", "hydra/launcher=")
        self.title = " ".join(each for each in self.command if each.startswith(words))

    def play(self, disturbances: int, damages: int) -> None:
        """Start the training so many times to disturb it, and damage files so many times."""
        calm = run(*self.command)
        if calm.status:
            self.faults.append(f"undisturbed: {calm.messages[-500:]}")
            return
        self.expected, self.last_line = states(self.work), calm.output.splitlines()[-1]
        shutil.rmtree(self.work)
        left = calm.seconds
        for _ in range(disturbances):
            moment = left * self.random.random()
            interrupted = self._disturb(moment)
            # the next command does not repeat what this one has done after its start
            left = max(calm.seconds / 2, left - max(0.0, moment - _START)) if interrupted else calm.seconds
        self._check_training(run(*self.command), "resumed")
        self.work.rename(self.ended)
        for _ in range(damages):
            if self.killed.is_dir() and self.random.random() < 1 / 4:
                self._damage_and_resume()
            else:
                self._damage_and_read()

    def _disturb(self, seconds: float) -> bool:
        """Start the command, and hit it after some seconds; False if it had ended by then."""
        number = self.random.choice(_DISTURBANCES)
        ended = _models_of_ended(self.work)
        command = Command(*self.command)
        interrupted = command.runs_for(seconds)
        if interrupted:
            self._interrupt(command, number)
        else:
            self._check_training(command.end(), "resumed")
        again = ended.items() - _models_of_ended(self.work).items()
        self.faults += [f"trained again: {path}" for path, _ in again]
        if not interrupted:
            shutil.rmtree(self.work)  # the next command starts anew
        return interrupted

    def _interrupt(self, command: Command, number: signal.Signals) -> None:
        self.counts[number.name] += 1
        if number == KILL:
            command.kill()
            if _checked_files(self.work):
                _copy(self.work, self.killed)
        elif fault := command.stop(number).fault_of_stop(number, self.last_line):
            self.faults.append(fault)

    def _check_training(self, ended: Ended, what: str, damage: str = "") -> None:
        """A training that was disturbed has ended as the calm one did."""
        self.counts[what] += 1
        if ended.status:
            self.faults.append(f"{what} {damage}: status {ended.status}: {ended.messages[-500:]}")
        elif f"{BEST} removed" in damage and f"{BEST} is missing" in ended.output:
            self.counts["went on with another best model, and said so"] += 1
        elif found := self._differences(self.own if damage else self.work):
            self.faults.append(f"{what} {damage}: {len(found)} differences: {found[:3]}")
        elif left := next(self.work.rglob("*.partial"), None):  # half-written by a killed command
            self.faults.append(f"{what} {damage}: {left} is left")

    def _differences(self, folder: Path) -> list[str]:
        """How the runs below a folder differ from the calm ones; a damaged teacher counts only if it was read."""
        try:
            found = states(folder)
        except Exception as error:  # a file that cannot be read: a training must not end so
            return [repr(error)]
        return differences(found, self.expected if folder == self.work else {n: self.expected[n] for n in found})

    def _damage_and_resume(self) -> None:
        """Damage a killed training: it ends as the calm one did, or refuses and names the file."""
        _copy(self.killed, self.work)
        folders, what = self._damage(_checked_files(self.work))
        ended = run(*self.command)
        if ended.status == 0:
            self._check_training(ended, "resumed in spite of damage", what)
        else:
            self._check_refusal(ended, folders, f"train: {what}")

    def _damage_and_read(self) -> None:
        """Damage an ended run: a command that reads it answers as before, or refuses and names the file."""
        _copy(self.ended, self.work)
        folder = self.random.choice(sorted(path.parent for path in self.work.rglob(RESULT)))
        part, command = self.random.choice(_readers(folder))
        if " ".join(command) not in self.answers:
            self.answers[" ".join(command)] = run(*command).output
        folders, what = self._damage(sorted(path for path in (folder / part).rglob("*") if path.is_file()))
        ended = run(*command)
        if ended.status:
            self._check_refusal(ended, folders, f"{command[0]}: {what}")
        elif ended.output != self.answers[" ".join(command)]:
            self.faults.append(f"silent: {' '.join(command)}: {what}")
        else:
            self.counts["damage to files that were not read"] += 1

    def _damage(self, files: list[Path]) -> tuple[list[Path], str]:
        """Damage one to three of the files; returns their folders and what was done."""
        paths = self.random.sample(files, self.random.randint(1, min(3, len(files))))
        paths = [path for path in paths if path.name == SUMS] or paths  # without a list nothing is checked
        self.counts["damaged files"] += len(paths)
        done = [f"{path.relative_to(self.work)} {damage(path, self.random)}" for path in paths]
        return [path.parent for path in paths], ", ".join(done)

    def _check_refusal(self, ended: Ended, folders: list[Path], what: str) -> None:
        self.counts["damage refused"] += 1
        if (fault := ended.fault()) or not any(str(folder) in ended.messages for folder in folders):
            self.faults.append(f"{what}: {fault or 'not named'}: {ended.messages[-500:]}")


def _models_of_ended(outputs: Path) -> dict[Path, int]:
    """When the model of each run that has ended was written."""
    runs = [path.parent for path in outputs.rglob(RESULT) if ended_well(path.parent)]
    return {run: (run / "model" / "config.json").stat().st_mtime_ns for run in runs}


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _checked_files(folder: Path) -> list[Path]:
    """Files that are checked when they are read, without the checkpoints of ended runs, which nothing reads."""
    ended = {path.parent / CHECKPOINTS for path in folder.rglob(RESULT)}
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent not in ended)
    return sorted(path for path in files if _CHECKED & set(path.relative_to(folder).parts[:-1]))


def _readers(run: Path) -> list[tuple[str, list[str]]]:
    """Folders of a run, each with a command that reads it."""
    model = [("model", ["evaluate", f"run={run}"]), ("model", ["export", f"run={run}"])]
    deployment = [
        ("deployment", ["predict", f"deployment={run}/deployment", "text=a good film with a bad end"]),
        ("deployment", ["evaluate", f"run={run}", "engine=onnxruntime"]),
    ]
    return [*model, *(deployment if (run / "deployment").is_dir() else [])]
