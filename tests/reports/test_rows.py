import pytest

from tests.reports.runs import put
from winnow.reports.find import find


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metrics": {"accuracy": float("nan"), "f1": 0.5}}, "metrics accuracy is nan"),
        ({"metrics": {"accuracy": 10**400, "f1": 0.5}}, "metrics accuracy is 100000000000000000...0000000000000000000"),
        ({"metrics": {"accuracy": "high", "f1": 0.5}}, "metrics accuracy is no number"),
        ({"sparsity": "0.8"}, "sparsity is no number"),
        ({"sparsity": 80}, "sparsity is 80"),
        ({"sparsity_by_layer": {"layer.0.weight": -0.1}}, "sparsity_by_layer layer.0.weight is -0.1"),
        ({"train_seconds": -1.0}, "train_seconds is -1.0"),
        ({"sparsity_by_layer": [0.8]}, "sparsity_by_layer is no mapping"),
        ({"deployment": 7}, "deployment is no mapping"),
        ({"deployment": {"bytes": "large"}}, "bytes is no number"),
        ({"settings": "none"}, "settings is no mapping"),
        ({"metrics": {}}, "there are no metrics"),
    ],
)
def test_what_is_wrong_in_a_row_is_left_out_of_it_and_said(tmp_path, changes, sentence):
    put(tmp_path / "run", **changes)
    found = find([tmp_path])
    assert len(found.rows) == 1
    assert "accuracy" not in found.rows[0]["metrics"] or "metrics" not in changes
    assert found.left_out == [f"{tmp_path}/run/result.json: {sentence}; the rest of the row is shown."]


@pytest.mark.parametrize("latency", [3, {}, {"batches": {"8": {}}}, {"batches": {"1": []}}])
def test_a_latency_at_another_batch_size_or_none_is_not_measured(tmp_path, latency):
    put(tmp_path, deployment={"precision": "int8", "bytes": 5, "latency": latency})
    found = find([tmp_path])
    assert found.rows[0]["deployment"]["seconds"] is None
    assert not found.left_out


def test_an_older_row_has_the_settings_of_its_command(tmp_path):
    command = (
        "python -m src.train task=sst2 'task.data.path=my data' +modifier@recipe.frozen=frozen recipe.num_epochs=2 "
        "dense.num_epochs=1 seed=3 hydra.run.dir=x logger=none trainer.precision=32-true"
    )
    put(tmp_path / "student", settings=None, command=f"{command} recipe=prune80")
    put(tmp_path / "teacher", settings=None, command=f"{command} recipe=prune80", recipe="dense", teacher="none")
    student, teacher = (row["settings"] for row in find([tmp_path]).rows)
    shared = {"task.data.path": "my data", "trainer.precision": "32-true"}
    own = {"recipe.num_epochs": "2", "modifier@recipe.frozen": "frozen", "dense.num_epochs": "1"}
    assert student == {**shared, **own}
    assert teacher == {**shared, "recipe.num_epochs": "1"}
