import subprocess
import sys

import pytest

from tests.reports.runs import DENSE, failed, plan, put
from tests.toys import failure, run
from winnow.files.checksums import write_sums
from winnow.files.conf_folder import CONF

FILES = {"report.md", "report.csv", "rows.csv", "report.tex", "report.html"}


def test_the_command_prints_the_table_and_writes_it_in_every_format(tmp_path):
    put(tmp_path / "runs" / "a", **DENSE)
    put(tmp_path / "runs" / "b")
    output = run("report", "path=runs/", folder=tmp_path)
    written = tmp_path / "runs" / "report"
    assert {path.name for path in written.iterdir()} >= FILES
    assert (written / "report.md").read_text().startswith("# Results\n\n## sst2, minilm\n")
    assert output.startswith("## sst2, minilm\n")
    assert "| prune80 | dense   | 1     |" in output
    assert "runs/report/report.md\nruns/report/report.csv\n" in output
    assert not (tmp_path / ".hydra").exists()
    assert run("report", "path=runs", folder=tmp_path) == output  # its own files change nothing


def test_the_progress_of_a_sweep_is_printed(tmp_path):
    sweep = plan(tmp_path / "s", {"folder": "a"}, {"folder": "b", "seed": 2}, {"folder": "c", "seed": 3})
    put(sweep / "a")
    put(sweep / "b", seed=2, **failed())
    assert "\nsweep s: 1 of 3 done, 1 failed" in run("report", "path=s", folder=tmp_path)
    (sweep / "sweep.json").write_text('{"jobs": [3, {"folder": 1}]}')
    assert run("report", "path=s", folder=tmp_path).endswith("\nsweep s: 0 of 0 done\n")


def test_check_names_every_damaged_model(tmp_path):
    for name in ("a", "b"):
        model = put(tmp_path / "runs" / name) / "model"
        model.mkdir()
        (model / "config.json").write_text("{}")
        write_sums(model)
    assert run("report", "path=runs", "check=true", folder=tmp_path).endswith(
        "\n2 models and deployments match their checksums.\n"
    )
    (tmp_path / "runs" / "b" / "model" / "config.json").write_text("{ }")
    message = failure("report", "path=runs", "check=true", folder=tmp_path)
    assert message.startswith("error: 1 of 2 models and deployments are damaged.\n")
    assert f"{tmp_path}/runs/b/model/config.json is damaged" in message
    assert "damaged" not in run("report", "path=runs", folder=tmp_path)


def test_several_folders_are_one_table(tmp_path):
    put(tmp_path / "a b" / "x", **DENSE)
    put(tmp_path / "c" / "y")
    output = run("report", "path=[a b,c]", folder=tmp_path)
    assert "97.78" in output
    assert (tmp_path / "outputs" / "report" / "report.csv").is_file()


def test_the_name_of_a_folder_is_read_literally(tmp_path):
    name = "seed=1,recipe=dense (a)"
    put(tmp_path / name)
    assert "prune80" in run("report", f"path={name}", "out=my, report", folder=tmp_path)
    assert (tmp_path / "my, report" / "report.md").is_file()


def test_a_single_run_is_a_table_of_one_line(tmp_path):
    put(tmp_path / "a")
    assert "| prune80 |" in run("report", "path=a", folder=tmp_path)


def test_a_folder_with_only_planned_and_failed_runs_has_a_report(tmp_path):
    put(tmp_path / "a", **failed())
    plan(tmp_path, {"folder": "a"}, {"folder": "b", "seed": 2})
    assert "failed: 1 of 2; missing: seed 2" in run("report", "path=.", folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: path must be given: add path=VALUE to the command."),
        (["path=[]"], "error: path=[] is empty; name a folder: path=FOLDER."),
        (["path=sweps"], "error: path=sweps: there is no such folder. Did you mean 'sweeps'?"),
        (["path="], "error: path=: there is no such folder."),
        (
            ["path=sweeps,other"],
            "error: path=sweeps,other: there is no such folder; write several folders as 'path=[sweeps,other]'.",
        ),
        (["path=sweeps/result.json"], "error: path=sweeps/result.json is a file; name its folder: path=sweeps"),
        (
            ["path=empty"],
            "error: path=empty: no run has ended below this folder; name a folder with result.json files, such as "
            "outputs.",
        ),
        (["path=sweeps", "out=sweeps/result.json"], "error: sweeps/result.json: nothing can be written there"),
    ],
)
def test_a_mistake_gives_one_line(tmp_path, arguments, message):
    put(tmp_path / "sweeps")
    (tmp_path / "empty").mkdir()
    assert failure("report", *arguments, folder=tmp_path).startswith(message)


def test_a_folder_with_only_a_damaged_row_is_refused(tmp_path):
    (tmp_path / "result.json").write_text("{")
    message = failure("report", "path=.", folder=tmp_path)
    assert "no run has ended below this folder" in message
    assert "result.json is damaged or incomplete" in message


def test_a_long_list_of_omitted_rows_is_folded_on_the_screen_and_complete_in_the_file(tmp_path):
    put(tmp_path / "good")
    for i in range(30):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "result.json").write_text("{")
    output = run("report", "path=.", folder=tmp_path)
    assert output.count("damaged or incomplete") == 20
    assert "- 10 more: report/report.md" in output
    assert (tmp_path / "report" / "report.md").read_text().count("damaged or incomplete") == 30


def test_500_rows_with_damaged_ones_among_them_are_one_report(tmp_path):
    layers = {f"bert.encoder.layer.{i}.weight": 0.8 for i in range(72)}
    for i in range(500):
        recipe = f"prune{i // 5}" if i > 4 else "dense"
        changes = {"recipe": recipe, "seed": i % 5, "cell": f"{i // 5:012x}", "sparsity_by_layer": layers}
        put(tmp_path / f"{i}", **changes, teacher="none", metrics={"accuracy": 0.5 + i / 2000})
    (tmp_path / "7" / "result.json").write_text('{"status": "ok", "task": "ss')
    put(tmp_path / "8", task="qqp")
    put(tmp_path / "9", metrics={})
    command = [sys.executable, "-X", "importtime", "-m", "src.report", f"path={tmp_path}"]
    ended = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "7/result.json is damaged or incomplete" in ended.stdout
    assert "## qqp, minilm" in ended.stdout
    assert "there are no metrics" in ended.stdout
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert not imported & {"torch", "transformers", "pandas", "wandb"}
