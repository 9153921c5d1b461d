import json
import re
import signal
import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from tests.toys import failure, own_data, review_tables, run_command
from winnow.errors import StoppedError, UserError
from winnow.extras import is_installed
from winnow.runs.launchers import check_plugins, requeued, runs_beside_others, unfinished_sweeps
from winnow.signals import stoppable

PLUGINS = {"joblib": "joblib", "submitit_local": "submitit", "slurm": "submitit", "ray": "ray"}
EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "slurm": "slurm", "ray": "ray"}
JOBS = ["recipe=oneshot80,prune80", "teacher=none,dense", "seed=1", "recipe.num_epochs=2", "dense.num_epochs=2"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Runs the sweep of four jobs by a launcher; its rows by job, without times."""
    place = tmp_path_factory.mktemp("launchers")
    review_tables(place / "data")
    here = pytest.MonkeyPatch()
    here.setenv("OMP_NUM_THREADS", "1")

    def rows(*launcher):
        name = launcher[0].rsplit("=")[-1] if launcher else "basic"
        ended = run_command("train", "-m", *own_data(place / "data"), *JOBS, f"output_dir={place / name}", *launcher)
        assert ended.returncode == 0, ended.stderr
        assert "Warning" not in ended.stderr
        (plan,) = (place / name).glob("sweeps/*/sweep.json")
        jobs = json.loads(plan.read_text())["jobs"]
        found = {job["folder"]: json.loads((plan.parent / job["folder"] / "result.json").read_text()) for job in jobs}
        assert len(found) == 4
        assert len(list((place / name).glob("runs/**/result.json"))) == 1  # the teacher is shared
        unlike = ("train_seconds", "samples_per_second", "command")
        assert all(f"output_dir={place / name}" in row["command"] for row in found.values())
        assert all(",dense" not in row["command"] for row in found.values())
        return {job: {key: value for key, value in row.items() if key not in unlike} for job, row in found.items()}

    yield rows
    here.undo()


@pytest.fixture(scope="module")
def one_after_the_other(sweep):
    return sweep()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "settings"),
    [
        ("joblib", ["hydra.launcher.n_jobs=2"]),
        ("submitit_local", []),
        ("ray", ["hydra.launcher.ray.init.num_cpus=2"]),
    ],
)
def test_a_sweep_gives_the_same_table_wherever_its_jobs_run(sweep, one_after_the_other, launcher, settings):
    if not is_installed(f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher"):
        pytest.skip(f"pip install 'winnow-transformers[{EXTRAS[launcher]}]'")
    assert sweep(f"hydra/launcher={launcher}", *settings) == one_after_the_other


@pytest.mark.parametrize("launcher", PLUGINS)
def test_a_launcher_that_is_not_installed_is_refused_with_the_extra_to_install(tmp_path, monkeypatch, launcher):
    monkeypatch.setitem(sys.modules, f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher", None)
    if launcher == "slurm":  # whose name Hydra knows from nowhere else
        message = failure(
            "train", "-m", "seed=1,2", f"hydra/launcher={launcher}", f"output_dir={tmp_path}", folder=tmp_path
        )
        assert message == (
            f"error: hydra/launcher={launcher}: the package is not installed; "
            f"pip install 'winnow-transformers[{EXTRAS[launcher]}]'."
        )
        assert not list(tmp_path.iterdir())
    else:
        with pytest.raises(UserError, match=rf"hydra/launcher={launcher}: .*winnow-transformers\[{EXTRAS[launcher]}\]"):
            check_plugins(hydra_section(f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher.Launcher", launcher))


def hydra_section(target, choice="basic"):
    runtime = SimpleNamespace(choices={"hydra/launcher": choice})
    basic = OmegaConf.create({"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"})
    return SimpleNamespace(launcher=SimpleNamespace(_target_=target), sweeper=basic, runtime=runtime)


def test_jobs_that_run_one_after_the_other_need_no_package():
    basic = hydra_section("hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    check_plugins(basic)
    assert not runs_beside_others(basic)
    assert runs_beside_others(hydra_section("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"))


def test_a_stopped_job_of_a_cluster_is_requeued(monkeypatch):
    queued = []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = signal.signal(signal.SIGUSR2, lambda *args: queued.append(args))
    try:
        with pytest.raises(StoppedError, match="stopped by SIGUSR2"), requeued(), stoppable("resume"):
            signal.raise_signal(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert queued == [(signal.SIGUSR2, None)]


def test_a_job_ended_by_ctrl_c_is_not_requeued(monkeypatch):
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = signal.signal(signal.SIGUSR2, lambda *args: pytest.fail("it was"))
    try:
        with pytest.raises(StoppedError), requeued():
            raise StoppedError("interrupted", status=1)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_launcher_that_stops_prints_how_to_continue(capsys):
    def hydra(error):
        ended = SystemExit(1)  # after a trace
        ended.__context__ = error
        raise ended

    killed = type("TerminatedWorkerError", (RuntimeError,), {"__module__": "joblib.externals.loky"})
    for error in (killed(), ValueError()):
        with pytest.raises(SystemExit), unfinished_sweeps():
            hydra(error)
    assert capsys.readouterr().err == (
        "error: the launcher stopped because a job was killed; run the same command again to finish the sweep; it "
        "waits for jobs that are still running.\n"
    )


def test_outside_submitit_sigterm_stops_a_job_and_it_is_not_requeued(monkeypatch):
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    with pytest.raises(StoppedError, match="stopped by SIGTERM"), requeued(), stoppable("resume"):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("sweeper", "message"),
    [
        ({"direction": "minimize"}, r"^hydra\.sweeper\.direction must be maximize, since jobs return scores"),
        ({"n_trials": "many"}, r"^hydra\.sweeper\.n_trials must be a whole number, 1 or more, got 'many'\.$"),
        ({"_target_": "hydra_plugins.hydra_ax_sweeper.AxSweeper"}, r"^hydra/sweeper=mine: Winnow searches by Optuna"),
    ],
)
def test_a_search_that_cannot_work_is_refused(sweeper, message, monkeypatch):
    monkeypatch.setattr("winnow.runs.launchers.require_extra", lambda *args, **words: None)
    section = hydra_section("hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    section.runtime.choices["hydra/sweeper"] = "mine"
    optuna = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
    section.sweeper = OmegaConf.create({"_target_": optuna, "n_trials": 3, "direction": "maximize", **sweeper})
    with pytest.raises(UserError, match=message):
        check_plugins(section)


@pytest.mark.slow
def test_a_search_needs_its_package_or_finds_the_best_trial_and_goes_on_where_it_stopped(tmp_path):
    review_tables(tmp_path / "data")
    arguments = (
        *(*own_data(tmp_path / "data"), "recipe=dense", "teacher=none", f"output_dir={tmp_path / 'out'}"),
        *("dense.optimizer.learning_rate=tag(log,interval(1e-5,1e-2))", "recipe.num_epochs=1", "hydra/sweeper=search"),
    )
    if not is_installed("hydra_plugins.hydra_optuna_sweeper"):
        message = failure("train", "-m", *arguments, folder=tmp_path)
        assert (
            message
            == "error: hydra/sweeper=search: the package is not installed; pip install 'winnow-transformers[optuna]'."
        )
        return
    first = run_command("train", "-m", *arguments, "hydra.sweeper.n_trials=2")
    again = run_command("train", "-m", *arguments, "hydra.sweeper.n_trials=3")
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stderr == again.stderr == ""
    results = {
        path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "out").glob("sweeps/*/*/result.json")
    }
    assert len(results) == 3
    scores = {row["settings"]["dense.optimizer.learning_rate"]: row["metrics"]["accuracy"] for row in results.values()}
    best, rate = re.search(
        r"search: the best score is (\S+), with dense\.optimizer\.learning_rate=(\S+)\n", again.stdout
    ).groups()
    assert float(best) == pytest.approx(max(scores.values()), abs=1e-4)
    assert scores[rate] == max(scores.values())
