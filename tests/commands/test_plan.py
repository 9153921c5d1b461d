import json

import pytest
from transformers import PreTrainedModel

from tests.toys import TINY, failure, own_data, review_tables, run

SMALL = "task.data.max_train_samples=640"  # of the demo: 20 steps an epoch
CYCLIC = ["recipe=cyclic80", "recipe.num_epochs=5"]


def planned(*words, folder, **options):
    run("plan", *words, "plan.json=plan.json", "plan.picture=plan.png", folder=folder)
    return json.loads((folder / "plan.json").read_text())


def happened(*words, folder):
    run("train", *words, "hydra.run.dir=run", folder=folder)
    return json.loads((folder / "run" / "events.json").read_text())


RECIPES = {
    "prune80": ["recipe=prune80", "recipe.num_epochs=2", "recipe.pruning.update_frequency=0.2"],
    "cyclic80": CYCLIC,
    "oneshot97, step": [
        "recipe=oneshot97",
        "recipe.num_epochs=3",
        "recipe.learning_rate.schedule=step",
        "recipe.learning_rate.step_epochs=0.7",
    ],
    "accumulation": ["recipe=prune90_1of2", "trainer.accumulate_grad_batches=4"],
    "scaled to fewer steps": [*CYCLIC, "trainer.max_steps=11", "trainer.scale_recipe=true"],
    "one stage": ["recipe=fast2", "teacher=dense", "recipe.structure.latency=macs"],
    "two stages": ["recipe=fast4_quant", "teacher=dense", "recipe.structure.latency=macs", "recipe.structure.stages=2"],
    "distillation ends": ["recipe=prune80_1of2", "teacher=self", "recipe.distillation.end_epoch=1.5"],
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.filterwarnings("ignore:.*no predicted samples.*")
def test_a_run_has_exactly_the_events_of_its_plan(tmp_path, recipe):
    words = [*own_data(review_tables(tmp_path / "data")), "teacher=none", *RECIPES[recipe]]
    plan = planned(*words, folder=tmp_path)["events"]
    events = happened(*words, folder=tmp_path)
    assert len(plan) >= 3
    assert [row["step"] for row in plan] == [row["step"] for row in events]
    for row, event in zip(plan, events, strict=True):
        assert (row["epoch"], row["modifier"], row["change"]) == (event["epoch"], event["modifier"], event["change"])
        assert row["sparsity"] == pytest.approx(event["sparsity"], abs=1e-12)
        assert row["learning_rate"] == pytest.approx(event["learning_rate"], rel=1e-9)


@pytest.mark.parametrize("steps", [1, 3, 7, 11])
def test_a_recipe_that_is_scaled_to_fewer_steps_still_reaches_its_sparsity(tmp_path, steps):
    scaled = [f"trainer.max_steps={steps}", "trainer.scale_recipe=true", "recipe=prune80", "teacher=none"]
    run("train", *own_data(review_tables(tmp_path / "data")), *scaled, "hydra.run.dir=run", folder=tmp_path)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "ok"
    assert result["epochs"] == round(steps / 6, 2)  # six batches an epoch
    for name, sparsity in result["sparsity_by_layer"].items():
        assert sparsity in (pytest.approx(205 / 256), pytest.approx(307 / 384)), name  # round(.8 * size)


def test_the_plan_of_bert_base_has_the_events_of_a_run_of_a_tiny_model_on_the_same_data(tmp_path):
    """Their matrices differ, and with them the rounding of the sparsity."""
    data = ["task=demo_questions", "task.data.max_train_samples=64", "task.data.max_eval_samples=8"]
    words = [*data, "teacher=none", "recipe=gmp80", "recipe.num_epochs=2"]
    plan = planned(*words, "model=bert_base", folder=tmp_path)
    events = happened(*words, *TINY, folder=tmp_path)
    assert len(plan["events"]) == len(events) > 3
    for row, event in zip(plan["events"], events, strict=True):
        assert (row["step"], row["epoch"], row["change"]) == (event["step"], event["epoch"], event["change"])
        assert row["sparsity"] == pytest.approx(event["sparsity"], abs=2e-3)
        assert row["learning_rate"] == pytest.approx(event["learning_rate"] / 10, rel=1e-9)  # tiny trains at ten times


def test_the_plan_of_bert_base_on_squad_has_the_parameters_of_published_models(tmp_path):
    plan = planned("task=squad", "recipe=prune80", folder=tmp_path)
    assert plan["steps_per_epoch"] == 5533  # 88,524 windows in batches of 16
    assert plan["total_steps"] == 6 * 5533
    assert len(plan["matches"]["pruning"]) == 72
    assert sum(match["size"] for match in plan["matches"]["pruning"]) == 84_934_656
    assert plan["parameters"]["before"]["all"] == plan["parameters"]["after"]["all"] == 108_893_186
    assert plan["parameters"]["zeros"] == 67_947_720
    prunes = [row for row in plan["events"] if row["modifier"] == "pruning"]
    assert (prunes[0]["epoch"], prunes[-1]["epoch"]) == pytest.approx((0.0, 2.0), abs=1e-4)
    assert prunes[-1]["sparsity"] == pytest.approx(0.8, abs=1e-6)
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_a_plan_opens_no_connection_and_reads_no_weights(tmp_path, monkeypatch, capfd):
    def refuse(*args, **kwargs):
        pytest.fail("a connection or a file of weights was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", refuse)
    words = ["task=mnli", "recipe=cyclic90", "model=roberta_base", "plan.picture=null"]
    output = run("plan", *words, folder=tmp_path)
    assert "392,702 examples (published)" in output
    assert "roberta.encoder.layer.*.attention.self.query.weight" in output
    assert "90.00 %" in output
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("model", ["bert_large", "distilbert", "minilm", "deberta_v3_base"])
def test_shipped_models_are_planned_without_a_download(tmp_path, model):
    plan = planned("task=squad", "recipe=prune80", f"model={model}", folder=tmp_path)
    published = {
        "bert_large": 334_094_338,
        "distilbert": 66_364_418,
        "minilm": 22_566_146,
        "deberta_v3_base": 183_833_090,
    }
    assert plan["parameters"]["after"]["all"] == published[model]


def test_long_series_of_similar_events_are_folded(tmp_path):
    words = ["recipe=gmp80", "plan.picture=null", SMALL]
    folded, whole = run("plan", *words, folder=tmp_path), run("plan", *words, "plan.all=true", folder=tmp_path)
    assert "56 more (plan.all=true shows them)" in folded
    assert len(whole.splitlines()) == len(folded.splitlines()) + 55


SPEED = """
structure: 4 times as fast as the dense float32 model, counted in multiply-accumulates, batch 1, 128 tokens
  speedup before the first stage 1.00, after each stage 2.00, 4.00; without heads and neurons it would be 56,833
  the dense float32 model costs 11,174 million, everything but heads and neurons 0.197 million, and in each layer
    heads    0     2    5    7     10     12
    million  0  54.5  136  191    273    327
    neurons  0    80  224  512  1,360  3,072
    million  0  15.7   44  101    267    604
"""


def test_a_plan_shows_the_speedup_that_is_asked_for_and_the_latency_of_some_sizes(tmp_path):
    words = ["task=squad", "plan.picture=null"]
    output = run("plan", *words, "recipe=fast4", "recipe.structure.latency=macs", folder=tmp_path)
    assert SPEED in output
    assert "The numbers after are those before heads and neurons are removed." in output
    output = run("plan", *words, "recipe=fast10_sparse", folder=tmp_path)
    assert (
        "fast as the dense float32 model, as an int8 model in the sparse engine with 1 thread, batch 1, 128" in output
    )
    assert "the latency of heads and neurons is measured before the first step" in output


def test_a_plan_writes_only_its_picture_and_its_file(tmp_path):
    planned("model=tiny", SMALL, folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "plan.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=text_classification"], "error: a plan of task=text_classification needs its data"),
        (
            ["recipe.pruning.start_epoch=9", "recipe.pruning.end_epoch=10"],
            "recipe.pruning.start_epoch is 9, after the end",
        ),
        (["recipe.pruning.params=[head]"], "params: 'head' matches none of the 14 linear weights"),
        (["recipe.pruning.final_sparsity=80"], "final_sparsity must be in [0, 1), got 80; write 80 % as 0.8"),
        (
            ["recipe=fast20", "recipe.structure.latency=macs", "recipe.structure.sequence_length=1"],
            "recipe.structure.target_speedup=20 is out of reach",
        ),
        (["trainer.max_steps=5"], "trainer.max_steps=5 ends before the recipe does: 6 epochs of 20 steps are 120."),
        (["+recipe.pruning.prams=[a]"], "recipe.pruning.prams is not a setting"),
        (["+plan.jsn=a"], "plan.jsn is not a setting; plan has all, json, picture. Did you mean 'json'?"),
    ],
)
def test_a_configuration_that_cannot_be_trained_is_refused_by_the_plan(tmp_path, words, message):
    assert message in failure("plan", "model=tiny", SMALL, *words, folder=tmp_path)
