import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.reports.runs import put
from tests.reports.test_export_summary import REPORT
from winnow.config.fingerprint import fingerprint
from winnow.config.run import dense_run
from winnow.files.atomic import write_atomically
from winnow.reports.model_card import write_cards
from winnow.reports.published_settings import published_command

SPREAD = {"median": 0.5, "min": 0.4, "max": 0.6}
COMPARED = {
    "machine": {"cpu": "EPYC", "instruction_sets": ["avx2"], "threads": 1, "cores": 2, "load": 0.1, "versions": {}},
    "length": 128,
    "ways": {"onnxruntime, int8 graph": {}},
    "batches": {"1": {"onnxruntime, int8 graph": {"latency": {"median": 0.004}, "ratio": SPREAD}}},
}


@pytest.fixture
def finished(configured, tmp_path):
    """A function that makes a run of SST-2 with a dense reference, from what differs in its row; returns its card."""

    def make(**changes):
        config = configured("task=sst2", "model=minilm", "recipe=prune80", f"output_dir={tmp_path}")
        run, dense = tmp_path / "runs" / "a", tmp_path / "runs" / "dense"
        for folder in (run, dense):
            write_atomically(folder / "model" / "config.json", '{"architectures": ["BertForSequenceClassification"]}')
        facts = {"fingerprint": fingerprint(dense_run(config)), "sparsity": 0.0, "metrics": {"accuracy": 0.8}}
        put(dense, **facts | {"recipe": "dense"})
        command = "python -m src.train task=sst2 model=minilm recipe=prune80 hydra.run.dir=/home/jane/runs"
        put(run, **{"command": command, "pruned": True, "distilled": True, "metrics": {"accuracy": 0.76}} | changes)
        write_atomically(run / ".hydra" / "resolved.yaml", yaml.safe_dump(config.plain()))
        write_cards(run)
        return ModelCard.load(run / "model" / "README.md")

    return make


def test_a_card_has_the_front_matter_of_the_hub_and_the_figures_beside_those_of_the_dense_run(finished):
    card = finished()
    assert card.data.to_dict() == {
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "datasets": ["nyu-mll/glue"],
        "library_name": "transformers",
        "metrics": ["accuracy"],
        "pipeline_tag": "text-classification",
        "tags": ["winnow", "pruning", "knowledge-distillation"],
        "model-index": [
            {
                "name": "prune80-sst2",
                "results": [
                    {
                        "task": {"type": "text-classification"},
                        "dataset": {"type": "nyu-mll/glue", "name": "sst2", "config": "sst2", "split": "validation"},
                        "metrics": [{"type": "accuracy", "value": 0.76, "name": "accuracy"}],
                    }
                ],
            }
        ],
    }
    text = re.sub(" +", " ", card.text)
    assert "\n# prune80 of sentence-transformers/all-MiniLM-L6-v2 on sst2\n" in text
    assert "80.00 % of the linear weights of its encoder are zero. It learned from the dense model" in text
    assert "| accuracy | 0.8000 | 0.7600 | -0.0400 |" in text
    assert "Recovery (accuracy relative to the dense model): 95.0 %." in text
    assert "AutoModelForSequenceClassification.from_pretrained(" in text
    assert "\nwinnow train task=sst2 model=minilm recipe=prune80\n" in text
    assert "_target_: winnow.modifiers.layerwise.LayerwisePruning" in text


def test_an_export_adds_its_verification_and_latency_to_both_cards(finished, tmp_path):
    folder = tmp_path / "runs" / "a" / "deployment"
    write_atomically(folder / "verification.json", json.dumps(REPORT | {"batch_size": 2, "sequence_length": 16}))
    facts = {
        "precision": "int8",
        "bytes": 2e6,
        "compressed_bytes": 1e6,
        "packs_embeddings": True,
        "may_overflow": False,
    }
    card = finished(quantized=True, deployment=facts | {"latency": COMPARED})
    deployed = ModelCard.load(folder / "README.md")
    assert deployed.data.tags == card.data.tags == [*card.data.tags[:3], "quantization", "onnx", "int8"]
    for each in (card, deployed):
        text = re.sub(" +", " ", each.text)
        assert "exported in int8, was compared with the PyTorch model on 300 inputs" in text
        assert "| size | | 2.0 MB |" in text
        assert "| onnxruntime, int8 graph | 4.00 | 0.500 (0.400..0.600) |" in text
    assert "with weights on the grid of the integers" in card.text
    assert 'tokenizer(["A text."] * 2, padding="max_length", max_length=16, truncation=True, return' in deployed.text
    assert "embeddings have 4 bits" in deployed.text
    assert "may overflow" not in deployed.text


def test_text_of_a_users_files_cannot_change_the_card(finished):
    hostile = "<script>x\n---\nlicense: mit\n---\n\n```\n# [x](y) | `a`"
    changes = {"task": hostile, "constant_prediction": hostile, "recipe": hostile}
    card = finished(**changes, command=f"x recipe='{hostile}'")
    assert card.data.license is None
    assert card.data.eval_results[0].dataset_name == hostile
    prose = re.sub(r"^```.*?^```$", "", card.text, flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"(?<!\\)(?:<|\]\()", prose) == []
    assert len(re.findall(r"^#", prose, re.MULTILINE)) == 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in prose.splitlines() if line.startswith("|")} == {5}


@pytest.mark.parametrize(
    ("command", "published"),
    [
        ("python -m src.train task=sst2 seed=2 output_dir=/data logger.entity=jane", "task=sst2 seed=2"),
        ("winnow train --config-dir model recipe=mine ~recipe.distillation", "recipe=mine '~recipe.distillation'"),
        ("winnow train model.name=roberta-base", "model.name=roberta-base"),
        ("winnow train model.name=outputs/run teacher.name=run", "'model.name=<path>' 'teacher.name=<path>'"),
        ("winnow train model=outputs/run", "'model=<path>'"),
        ("winnow train model=minilm recipe=ptq", "model=minilm recipe=ptq"),
        ("winnow train task.data.path=nyu-mll/glue", "task.data.path=nyu-mll/glue"),
        ("winnow train task.data.files.train=a.csv", "'task.data.files.train=<path>'"),
        ("winnow train +recipe.mine.list=/home/jane/a", "'+recipe.mine.list=<path>'"),
        ("winnow train 'recipe=a`'", "'recipe=a''"),
        ("winnow train 'unclosed", ""),
    ],
)
def test_a_published_command_names_no_place_on_this_machine(command, published):
    assert published_command(command) == f"winnow train {published}".strip()
