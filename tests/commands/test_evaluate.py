import json
import re
import shutil

import pytest
import yaml

from tests.toys import failure, own_data, review_tables, run
from winnow.deployment.folder import read_deployment


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run in it, pruned in one shot.

    Its scores are so near to one half that with its threshold no row is positive, and some are at one half.
    """
    folder = tmp_path_factory.mktemp("evaluate")
    review_tables(folder / "data", held_out=24)
    run(
        "train", *own_data(folder / "data"), "recipe=oneshot80", "recipe.num_epochs=1", "teacher=none",
        "task.threshold=0.6", "model.config.num_hidden_layers=1", "hydra.run.dir=run", folder=folder,
    )  # fmt: skip
    return folder


@pytest.fixture
def row(place):
    return json.loads((place / "run" / "result.json").read_text())


def measured(output):
    """{(split, metric): (now, recorded)} of the printed table."""
    lines = re.findall(r"^(\w+) (\w+) +([\d.-]+) +([\d.-]+)$", output, flags=re.MULTILINE)
    return {(split, metric): (now, recorded) for split, metric, now, recorded in lines}


def test_the_metrics_equal_those_recorded_by_the_run(place, row):
    table = measured(run("evaluate", "run=run", folder=place))
    assert {(split, metric) for split in ("validation", "test") for metric in ("accuracy", "f1")} == set(table)
    for (split, metric), (now, recorded) in table.items():
        assert now == recorded
        assert float(now) == pytest.approx(
            row["metrics" if split == "validation" else "test_metrics"][metric], abs=1e-6
        )


def test_the_threshold_is_in_the_configuration_of_the_model_and_decides(place, row):
    assert json.loads((place / "run" / "model" / "config.json").read_text())["decision_threshold"] == 0.6
    assert row["decision_threshold"] == 0.6
    for split, rows in (("", 24), ("test_", 24)):
        lines = [json.loads(line) for line in (place / "run" / f"{split}predictions.jsonl").read_text().splitlines()]
        assert [line["label"] for line in lines] == ["negative"] * rows
        assert any(line["scores"]["positive"] > 0.5 for line in lines)
        matrix = json.loads((place / "run" / f"{split}class_report.json").read_text())["confusion_matrix"]
        assert matrix[0][1] == matrix[1][1] == 0
        assert row[f"{split}metrics"] == {"accuracy": pytest.approx(matrix[0][0] / rows, abs=1e-6), "f1": 0.0}


def test_the_metrics_do_not_depend_on_the_batch_size(place):
    assert measured(run("evaluate", "run=run", "batch_size=3", folder=place)) == measured(
        run("evaluate", "run=run", folder=place)
    )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_one_split_can_be_chosen(place, split):
    table = measured(run("evaluate", "run=run", f"split={split}", folder=place))
    assert {name for name, _ in table} == {split}


def test_nothing_is_written(place):
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    run("evaluate", "run=run", folder=place)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == before


def test_an_unknown_split_is_refused(place):
    message = failure("evaluate", "run=run", "split=trian", folder=place)
    assert message == "error: split must be validation, test or null, got 'trian'."


def test_without_a_run_the_error_names_the_setting_to_add(place):
    assert "run must be given: add run=VALUE to the command" in failure("evaluate", folder=place)


def test_a_missing_folder_is_refused(place):
    assert failure("evaluate", "run=nowhere", folder=place) == "error: run=nowhere: there is no such folder."


def test_a_run_without_its_model_is_refused(place, tmp_path):
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "run" / "model" / "model.safetensors").unlink()
    assert "model.safetensors is missing" in failure("evaluate", "run=run", folder=tmp_path)


def test_missing_data_are_named(place, tmp_path):
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.copytree(place / "data", tmp_path / "data")
    path = tmp_path / "run" / ".hydra" / "resolved.yaml"
    path.write_text(path.read_text().replace(str(place), str(tmp_path)))
    shutil.rmtree(tmp_path / "data")
    message = failure("evaluate", "run=run", folder=tmp_path)
    assert "there is no such folder" in message
    assert "\n" not in message


@pytest.fixture(scope="module")
def deployed(place):
    """The run with its deployment, and a copy whose graph has a fixed shape."""
    run("export", "run=run", folder=place)
    shutil.copytree(place / "run", place / "fixed")
    run("export", "run=fixed", "export.batch_size=3", "export.sequence_length=24", folder=place)
    return place


@pytest.mark.parametrize("engine", ["auto", "openvino"])
@pytest.mark.parametrize("folder", ["run", "fixed"])
def test_a_deployment_is_evaluated_by_its_engine(deployed, engine, folder):
    if engine == "openvino":
        pytest.importorskip(engine)
    table = measured(run("evaluate", f"run={folder}", f"engine={engine}", folder=deployed))
    assert table
    assert all(now == recorded for now, recorded in table.values())
    assert read_deployment(deployed / folder).task.threshold == 0.6


def test_a_missing_engine_or_deployment_is_refused(place, deployed, tmp_path):
    assert "there is no model.sparse.onnx" in failure("evaluate", "run=run", "engine=sparse", folder=deployed)
    assert "Did you mean 'onnxruntime'?" in failure("evaluate", "run=run", "engine=onnxrutime", folder=place)
    shutil.copytree(place / "run", tmp_path / "bare", ignore=shutil.ignore_patterns("deployment"))
    message = failure("evaluate", f"run={tmp_path}/bare", "engine=onnxruntime", folder=place)
    assert "there is no model.onnx; make it with python -m src.export run=" in message


def test_code_that_a_run_names_is_never_imported(place, tmp_path, monkeypatch):
    shutil.copytree(place / "run", tmp_path / "run")
    (tmp_path / "foreign.py").write_text("import pathlib; pathlib.Path('imported').touch()")
    monkeypatch.syspath_prepend(tmp_path)
    resolved = tmp_path / "run" / ".hydra" / "resolved.yaml"
    shipped = yaml.safe_load(resolved.read_text())
    foreign = {"_target_": "foreign.Anything"}
    resolved.write_text(yaml.safe_dump(shipped | {"task": shipped["task"] | foreign}))
    for command in ("evaluate", "export"):
        message = failure(command, "run=run", folder=tmp_path)
        assert message.startswith("error: task._target_=foreign.Anything is not a task of Winnow")
    resolved.write_text(yaml.safe_dump(shipped | {"recipe": shipped["recipe"] | {"noise": foreign}}))
    assert measured(run("evaluate", "run=run", "split=test", folder=tmp_path))  # a modifier is not needed
    assert not (tmp_path / "imported").exists()
