import pytest

from tests.reports.runs import deployed, put
from winnow.reports.folder_scan import scan


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"metrics": {"accuracy": 10**400, "f1": 0.5}},
            "metrics accuracy is 100000000000000000...0000000000000000000, but should be less than or equal to 1",
        ),
        ({"metrics": {"accuracy": "high", "f1": 0.5}}, "metrics accuracy is 'high', but should be a valid number"),
        ({"sparsity": "0.8"}, "sparsity is '0.8', but should be a valid number"),
        ({"sparsity": 80}, "sparsity is 80, but should be less than or equal to 1"),
        (
            {"sparsity_by_layer": {"layer.0.weight": -0.1}},
            "sparsity_by_layer layer.0.weight is -0.1, but should be greater than or equal to 0",
        ),
        ({"train_seconds": -1.0}, "train_seconds is -1.0, but should be greater than or equal to 0"),
        ({"sparsity_by_layer": [0.8]}, "sparsity_by_layer is [0.8], but should be a valid dictionary"),
        ({"deployment": 7}, "deployment is 7, but should be a valid dictionary"),
        ({"deployment": {"bytes": "large"}}, "bytes is 'large', but should be a valid number"),
        ({"settings": "none"}, "settings is 'none', but should be a valid dictionary"),
        ({"metrics": {}}, "there are no metrics"),
    ],
)
def test_invalid_values_are_left_out_and_reported(tmp_path, changes, sentence):
    put(tmp_path / "run", **changes)
    found = scan([tmp_path])
    assert len(found.rows) == 1
    assert "accuracy" not in found.rows[0].metrics or "metrics" not in changes
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith(f"{tmp_path}/run/result.json: {sentence}")
    assert found.left_out[0].endswith("; the other values are used.")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_metric_without_a_finite_value_keeps_its_place(tmp_path, value):
    put(tmp_path, metrics={"accuracy": value, "f1": 0.5}, test_metrics={"accuracy": value})
    found = scan([tmp_path])
    assert found.rows[0].metrics == {"accuracy": None, "f1": 0.5, "accuracy (test)": None}
    assert not found.left_out


@pytest.mark.parametrize(("milliseconds", "shown"), [(1.5, 1.5), (2.5, 2.0)])
def test_the_latency_is_that_of_the_sparse_engine_where_it_is_faster(tmp_path, milliseconds, shown):
    deployment = deployed(2000, 2.0)
    timed = deployment["latency"]["batches"]["1"]
    timed["sparse, int8 graph"] = {"latency": {"median": milliseconds / 1e3}}
    timed["onnxruntime, float32 graph"] = {"latency": {"median": 1e-3}}  # not the deployed graph
    put(tmp_path, deployment=deployment)
    assert scan([tmp_path]).rows[0].latency == shown / 1e3


@pytest.mark.parametrize("latency", [3, {}, {"batches": {"8": {}}}, {"batches": {"1": []}}])
def test_only_a_latency_at_batch_1_is_used(tmp_path, latency):
    put(tmp_path, deployment={"precision": "int8", "bytes": 5, "latency": latency})
    found = scan([tmp_path])
    assert found.rows[0].latency is None
    assert not found.left_out


@pytest.mark.parametrize(
    ("typed", "shown"), [("'my data'", "my data"), (r"'it\'s'", "it's"), ("'", "'"), ("[a,b]", "[a,b]"), (3, "3")]
)
def test_a_setting_is_shown_without_the_quotes_of_the_command_line(tmp_path, typed, shown):
    put(tmp_path, settings={"task.data.path": typed})
    assert scan([tmp_path]).rows[0].settings == {"task.data.path": shown}


def test_an_older_row_has_the_settings_of_its_command(tmp_path):
    command = (
        "python -m src.train task=sst2 'task.data.path=my data' +modifier@recipe.frozen=frozen recipe.num_epochs=2 "
        "dense.num_epochs=1 seed=3 hydra.run.dir=x logger=none trainer.precision=32-true"
    )
    put(tmp_path / "student", settings=None, command=f"{command} recipe=prune80")
    put(tmp_path / "teacher", settings=None, command=f"{command} recipe=prune80", recipe="dense", teacher="none")
    student, teacher = (row.settings for row in scan([tmp_path]).rows)
    shared = {"task.data.path": "my data", "trainer.precision": "32-true"}
    own = {"recipe.num_epochs": "2", "modifier@recipe.frozen": "frozen", "dense.num_epochs": "1"}
    assert student == {**shared, **own}
    assert teacher == {**shared, "recipe.num_epochs": "1"}
