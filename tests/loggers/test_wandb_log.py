import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("wandb", reason="pip install 'winnow-transformers[wandb]'")

from tests.offline_wandb import read_run
from tests.toys import own_data, review_tables, run
from winnow.config.outputs import Logger as LoggerSettings
from winnow.loggers import wandb_log
from winnow.loggers.run_facts import flat
from winnow.loggers.wandb_log import WandbLog

PLAIN = {"recipe": {"name": "prune80", "num_epochs": 2}, "seed": 1}
CONFIG = SimpleNamespace(
    task=SimpleNamespace(name="sst2"),
    recipe=SimpleNamespace(name="prune80"),
    teacher=SimpleNamespace(kind="dense"),
    model=SimpleNamespace(name="owner/minilm"),
    seed=3,
    plain=lambda: PLAIN,
)
ROW = {"status": "ok", "error": None, "metrics": {"accuracy": 0.1234567}, "sparsity_by_layer": {"a.weight": 0.8}}


def begun(folder, resumed=False):
    log = WandbLog(folder, LoggerSettings(kind="wandb", project="tests", offline=True))
    log.begin(CONFIG, resumed=resumed)
    return log


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two jobs, the second of which fails once it has begun: their folders, and what was printed."""
    place = tmp_path_factory.mktemp("wandb")
    review_tables(place / "data")
    with pytest.raises(SystemExit):
        run("train", "-m", *own_data(place / "data"), "recipe=oneshot80", "teacher=none", "logger=wandb",
            "logger.offline=true", "recipe.pruning.params=['.*query.*'],[no]", "hydra.sweep.dir=night",
            "output_dir=.", folder=place)  # fmt: skip
    jobs = json.loads((place / "night" / "sweep.json").read_text())["jobs"]
    return [place / "night" / job["folder"] for job in jobs]


def test_two_jobs_of_a_sweep_are_two_runs_of_one_group(swept):
    good, failed = map(read_run, swept)
    assert (good["name"], good["group"], good["job_type"], good["exit"]) == (swept[0].name, "night", "oneshot80", 0)
    assert (failed["name"], failed["group"], failed["exit"]) == (swept[1].name, "night", 1)
    assert good["id"] != failed["id"]


def test_the_table_of_a_run_equals_its_result_json(swept):
    row = json.loads((swept[0] / "result.json").read_text())
    tables = read_run(swept[0])["tables"]
    (values,) = tables["results"]["data"]
    assert dict(zip(tables["results"]["columns"], values, strict=True)) == flat(row)
    assert dict(tables["sparsity_by_layer"]["data"]) == row["sparsity_by_layer"]
    assert flat(row)["metrics/accuracy"] == row["metrics"]["accuracy"]


def test_the_tables_of_a_sweep_are_a_run_of_its_group_and_equal_its_rows(swept):
    summary = read_run(swept[0].parent)
    assert (summary["name"], summary["group"], summary["job_type"]) == ("night", "night", "sweep")
    runs = [
        dict(zip(summary["tables"]["runs"]["columns"], line, strict=True)) for line in summary["tables"]["runs"]["data"]
    ]
    found = {Path(line["folder"]).name: line for line in runs}
    rows = {folder.name: json.loads((folder / "result.json").read_text()) for folder in swept}
    assert set(found) == set(rows)
    good, failed = (found[folder.name] for folder in swept)
    row = rows[swept[0].name]
    for name in ("seed", "status", "sparsity", "parameters", "nonzero_parameters", "epochs", "train_seconds"):
        assert good[name] == row[name]
    assert {name: good[name] for name in row["metrics"]} == row["metrics"]
    assert {name: good[f"{name} (test)"] for name in row["test_metrics"]} == row["test_metrics"]
    assert (failed["status"], failed["error"]) == ("failed", rows[swept[1].name]["error"])
    assert len(summary["tables"]["results"]["data"]) == 2
    media = next(swept[0].parent.glob("wandb/offline-run-*/files/media"))
    (table,) = media.glob("table/report/*.json")
    assert "oneshot80" in json.loads(table.read_text())["data"][0]
    assert len([*media.glob("html/report/page*.html")]) == 1


def test_the_resolved_configuration_and_the_metrics_over_steps_are_in_the_run(swept):
    found = read_run(swept[0])
    assert found["config"]["recipe"]["pruning"]["final_sparsity"] == 0.8
    by_step = {name: value for row in found["history"] for name, value in row.items()}
    assert {"val/accuracy", "pruning/sparsity"} <= set(by_step)
    assert any(name.startswith("sparsity/") and name.endswith("query.weight") for name in by_step)
    assert next(row["step"] for row in found["history"] if "val/accuracy" in row) == 6


def test_a_row_that_a_resumed_run_repeats_is_logged_once(tmp_path):
    first = begun(tmp_path)
    for step in range(4):
        first.log_metrics({"pruning/sparsity": 0.1 * step}, step=step)
        first.log_metrics({"train/loss": float(step), "epoch": 0}, step=step)
    first._run.finish(exit_code=1)
    second = begun(tmp_path, resumed=True)
    for step in range(2, 6):
        second.log_metrics({"pruning/sparsity": 0.1 * step}, step=step)
        second.log_metrics({"train/loss": float(step), "epoch": 0}, step=step)
    second.end(0)
    history = read_run(tmp_path)["history"]
    assert [row["train/loss"] for row in history if "train/loss" in row] == [0, 1, 2, 3, 4, 5]
    assert [row["step"] for row in history if "train/loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in history if "pruning/sparsity" in row] == [0, 1, 2, 3, 4, 5]
    assert first.version == second.version


def test_a_run_that_starts_again_is_another_wandb_run(tmp_path):
    first = begun(tmp_path)
    first.end(1)
    second = begun(tmp_path)
    second.end(0)
    assert first.version != second.version
    found = read_run(tmp_path)
    assert (found["id"], found["name"]) == (second.version, "sst2-prune80-dense-minilm-seed3")


def test_the_deployment_is_an_artifact_of_the_run(tmp_path):
    log = begun(tmp_path)
    (tmp_path / "deployment").mkdir()
    (tmp_path / "deployment" / "model.onnx").write_bytes(b"graph")
    (tmp_path / "result.json").write_text(json.dumps({**ROW, "deployment": {"bytes": 5}}))
    log.end(0)
    assert ("model", f"deployment-{log.version}") in read_run(tmp_path)["artifacts"]


@pytest.mark.parametrize(
    ("account", "reachable", "reason"),
    [(False, True, "no account is configured; run: wandb login"), (True, False, "cannot be reached")],
)
def test_without_an_account_or_a_connection_a_run_is_logged_offline_and_says_so(
    tmp_path, monkeypatch, capsys, account, reachable, reason
):
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb, "login", lambda **options: account)
    monkeypatch.setattr(wandb_log, "is_reachable", lambda address: reachable)
    log = WandbLog(tmp_path, LoggerSettings(kind="wandb", project="tests"))
    log.begin(CONFIG, resumed=False)
    log.end(0)
    output = capsys.readouterr()
    assert reason in output.out
    assert f"later: wandb sync {tmp_path}/wandb/offline-run-*" in output.out
    assert output.err == ""


def test_a_refused_account_does_not_stop_a_run(tmp_path, monkeypatch, capsys):
    import wandb

    init = wandb.init

    def refused(mode, **options):
        if mode == "online":
            raise wandb.errors.AuthenticationError("the key is wrong\nsee there")
        return init(mode=mode, **options)

    monkeypatch.setattr(wandb_log, "_obstacle", lambda module: None)
    monkeypatch.setattr(wandb, "init", refused)
    log = WandbLog(tmp_path, LoggerSettings(kind="wandb", project="tests"))
    log.begin(CONFIG, resumed=False)
    log.end(0)
    assert "W&B logs offline (the key is wrong)" in capsys.readouterr().out


def test_nothing_about_the_machine_the_code_or_the_packages_is_sent(tmp_path):
    log = begun(tmp_path)
    log.end(0)
    names = {path.name for path in tmp_path.glob("wandb/offline-run-*/files/**/*")}
    assert not names & {"requirements.txt", "wandb-metadata.json", "output.log", "diff.patch"}


@pytest.mark.parametrize("system", [False, True])
def test_the_load_of_the_machine_is_sampled_only_on_request_and_the_address_is_printed_once(
    tmp_path, monkeypatch, capsys, system
):
    import wandb

    def init(settings, **options):
        assert settings.x_disable_stats is not system
        return SimpleNamespace(url="https://wandb.ai/x", define_metric=lambda *names, **options: None)

    monkeypatch.setattr(wandb_log, "_obstacle", lambda module: None)
    monkeypatch.setattr(wandb, "init", init)
    WandbLog(tmp_path, LoggerSettings(kind="wandb", project="tests", system=system)).begin(CONFIG, resumed=False)
    assert capsys.readouterr().out == "W&B: https://wandb.ai/x\n"


@pytest.mark.slow
def test_wandb_is_imported_only_if_it_is_used():
    words = "src.train, winnow.loggers.run_log, winnow.training.trainer, winnow.deployment.export_run"
    code = f"import sys, {words}; sys.exit('wandb' in sys.modules or 'tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
