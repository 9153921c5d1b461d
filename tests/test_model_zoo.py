"""docs/models.md: what works for each kind of model, found by models with random weights."""

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tests.deployment.toys import family, inputs_of, logits, pruned_in_blocks, rounded
from tests.toys import toy_task, typed_data
from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.deployment.graph import write_graph
from winnow.deployment.samples import Samples, real_inputs
from winnow.deployment.sparse_graph import write_sparse_graph
from winnow.deployment.verification import verify
from winnow.errors import UserError
from winnow.files.conf_folder import CONF
from winnow.models.encoder_layers import keep_layers
from winnow.models.quantized_model import OTHER, insert_fake_quant, multiplying_modules, quantizable, set_fake_quant
from winnow.modifiers.clock import Clock
from winnow.modifiers.gmp import MagnitudePruning
from winnow.modifiers.layerwise import LayerwisePruning
from winnow.training.evaluation import sparsity_report

TABLE = CONF.parent / "docs" / "models.md"
COLUMNS = ["model", "`model=`", "prune", "layers", "quantise", "export", "sparse engine"]
KINDS = {  # row of the table -> kind of transformers
    "BERT, MiniLM": "bert",
    "DistilBERT": "distilbert",
    "RoBERTa": "roberta",
    "XLM-RoBERTa": "xlm-roberta",
    "CamemBERT": "camembert",
    "ELECTRA": "electra",
    "ALBERT": "albert",
    "MPNet": "mpnet",
    "DeBERTa-v2 and -v3": "deberta-v2",
    "DeBERTa": "deberta",
    "RoFormer": "roformer",
    "ModernBERT": "modernbert",
    "EuroBERT": "eurobert",
    "NomicBERT": "nomic_bert",
}


def rows() -> dict[str, list[str]]:
    """The cells of each row of the table in the documentation, by the name of the model."""
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    header, *cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert header == COLUMNS
    return {name: rest for name, *rest in cells}


def test_the_table_has_every_kind_and_no_empty_cell():
    assert list(rows()) == list(KINDS)
    assert all(all(cells) and len(cells) == len(COLUMNS) - 1 for cells in rows().values())


def test_the_table_names_every_shipped_model():
    named = {name for cells in rows().values() for name in re.findall(r"`(\w+)`", cells[0])}
    assert named == {path.stem for path in (CONF / "model").glob("*.yaml")}


@pytest.fixture(scope="module")
def samples() -> Samples:
    data = typed_data(generator="winnow.data.demo.reviews", label_column="label", text_columns=["text"])
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]  # which all kinds take
    return real_inputs(toy_task(), tokenizer, data, limit=100)


@pytest.mark.parametrize("name", KINDS)
def test_a_model_of_each_kind_is_pruned_shortened_and_quantised_as_its_row_says(samples, tmp_path, name):
    kind = KINDS[name]
    assert [pruned(kind, samples), with_fewer_layers(kind, tmp_path), quantised(kind)] == rows()[name][1:4]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_model_of_each_kind_is_exported_as_its_row_says(samples, sparse_engine, tmp_path, name):
    kind = KINDS[name]
    assert [exported(kind, samples, tmp_path), in_sparse_engine(kind, samples, tmp_path)] == rows()[name][4:]


def model_of(kind: str, layers: int = 2) -> PreTrainedModel:
    torch.manual_seed(0)
    return family(kind, layers=layers, vocab_size=len(tiny_tokenizer()))


def pruned(kind: str, samples: Samples) -> str:
    """The recipe whose pruning reaches its sparsity, as the row of a run reports it."""
    clock = Clock(steps_per_epoch=1, total_steps=0)
    large = model_of(kind)  # whose attention may read a single token, so that a layer has the same inputs everywhere
    model = type(large)(large.config).eval()
    layerwise = LayerwisePruning(name="pruning", final_sparsity=0.75, start_epoch=0, end_epoch=0)
    try:
        layerwise.match(model)
        layerwise.begin(clock)
        layerwise.without_training(model, samples.task, samples.batches)
        recipe = "`prune80`"
    except UserError:
        magnitude = MagnitudePruning(name="pruning", final_sparsity=0.75)
        magnitude.match(model)
        magnitude.begin(clock)
        magnitude.masks.update(magnitude.new_masks(magnitude.sparsities_at(0)), torch.optim.SGD(model.parameters()))
        recipe = "`gmp80`"
    assert sparsity_report(model)["sparsity"] == 0.75
    return recipe


def with_fewer_layers(kind: str, folder: Path) -> str:
    """Whether a model without its second layer is opened by transformers to the same outputs."""
    model = model_of(kind, layers=4)
    try:
        keep_layers(model, [0, 2, 3])
    except UserError:
        return "no"
    model.save_pretrained(folder)
    opened = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = inputs_of(model)
    assert torch.equal(logits(opened, batch), logits(model, batch))
    return "yes"


def quantised(kind: str) -> str:
    return "linear layers" if OTHER in multiplying_modules(model_of(kind)).values() else "whole"


def calibrated(model: PreTrainedModel, samples: Samples) -> PreTrainedModel:
    insert_fake_quant(model, list(quantizable(model)), weight_bits=8, per_channel=True, reduce_range=False)
    set_fake_quant(model, observer_enabled=True, fake_quant_enabled=False)
    with torch.no_grad():
        for batch in samples.batches:
            samples.task.outputs(model, batch)
    return rounded(model)


def graph(model: PreTrainedModel, samples: Samples, path: Path) -> Path:
    write_graph(model, path, inputs=samples.inputs, outputs=["logits"], opset=20)
    return path


def exported(kind: str, samples: Samples, folder: Path) -> str:
    """The precisions of a graph that passes the verification."""
    models = {"float32": model_of(kind), "int8": calibrated(model_of(kind), samples)}
    graphs = {name: graph(model, samples, folder / f"{name}.onnx") for name, model in models.items()}
    reports = {name: verify(model, graphs[name], samples) for name, model in models.items()}
    return ", ".join(name for name, report in reports.items() if not report["failures"]) or "no"


def in_sparse_engine(kind: str, samples: Samples, folder: Path) -> str:
    """Whether a model with zeros in blocks has a graph for the sparse engine that passes the verification."""
    model = calibrated(pruned_in_blocks(model_of(kind)), samples)
    path = graph(model, samples, folder / "model.onnx")
    sparse = write_sparse_graph(folder)
    return "yes" if sparse and not verify(model, path, samples, sparse=sparse)["sparse"]["failures"] else "no"
