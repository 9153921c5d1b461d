"""Deployments of encoders with random weights, to measure engines on them: ``python -m benchmarks.encoders OUT``.

For each shape there is a dense float32 one, ``minilm_dense``, and int8 ones, whose smallest weights or blocks are zero:
``minilm_block4_90``. They have no training and no data: weights are normal, and the ranges of activations are those of
random tokens. What a model predicts means nothing, but the time of a call depends on shapes and zeros only.
"""

import argparse
import copy
import json
from pathlib import Path

import onnx
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from winnow.data.tiny_tokenizer import tiny_tokenizer
from winnow.deployment.block_latency import quantize_on_random_tokens
from winnow.deployment.folder import GRAPH, SECTION, SPARSE_GRAPH
from winnow.deployment.graph import write_graph
from winnow.deployment.samples import INPUTS
from winnow.engine.graph_pass import rewrite
from winnow.functional.mask import pruning_mask
from winnow.functional.structure import Structure
from winnow.quiet import quiet_libraries

# Encoder layers, hidden size, size of the feed-forward layer, attention heads.
SHAPES = {"minilm": (6, 384, 1536, 12), "bert_base": (12, 768, 3072, 12)}
VOCABULARY = 2000  # embeddings take no time, so the files can be small
OPSET = 20


def encoder(shape: str) -> BertForSequenceClassification:
    """A dense encoder of a shape; the same weights in every call."""
    layers, hidden, intermediate, heads = SHAPES[shape]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        initializer_range=0.05,
    )
    model = BertForSequenceClassification(config)
    model.train(False)
    return model


@torch.no_grad()
def prune(model: BertForSequenceClassification, sparsity: float, structure: Structure) -> None:
    """Zero the smallest weights or blocks of each matrix of the encoder."""
    for module in model.bert.encoder.modules():
        if isinstance(module, nn.Linear):
            module.weight *= pruning_mask(module.weight, sparsity, structure)


def write_deployment(model: BertForSequenceClassification, folder: Path, precision: str) -> None:
    """Write what ``winnow export`` would write, without a verification."""
    folder.mkdir(parents=True, exist_ok=True)
    write_graph(copy.deepcopy(model), folder / GRAPH, inputs=INPUTS, outputs=["logits"], opset=OPSET)
    if precision == "int8" and (sparse := rewrite(onnx.load(folder / GRAPH))):
        onnx.save(sparse.model, folder / SPARSE_GRAPH)
    tiny_tokenizer().save_pretrained(folder)
    section = {
        "task": {"_target_": "winnow.tasks.text_classification.TextClassification", "data": {}},  # with its defaults
        "labels": ["negative", "positive"],
        "inputs": list(INPUTS),
        "outputs": ["logits"],
        "precision": precision,
        "batch_size": None,
        "sequence_length": None,
    }
    (folder / "config.json").write_text(json.dumps({**model.config.to_dict(), SECTION: section}, indent=2) + "\n")
    print(f"{folder}: {', '.join(f'{path.name} {path.stat().st_size:,}' for path in sorted(folder.glob('*.onnx')))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the deployments")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0, 0.8, 0.9, 0.95, 0.97], help="0 for no zeros")
    parser.add_argument("--structures", nargs="+", choices=["block4", "unstructured"], default=["block4"])
    options = parser.parse_args()
    quiet_libraries()
    for shape in options.shapes:
        write_deployment(encoder(shape), options.out / f"{shape}_dense", "float32")
        kinds = dict.fromkeys(
            (structure if sparsity else "int8", sparsity)  # without zeros all structures are the same
            for structure in options.structures
            for sparsity in options.sparsities
        )
        for kind, sparsity in kinds:
            model = encoder(shape)
            name = f"{shape}_{kind}"
            if sparsity:
                prune(model, sparsity, Structure.parse(kind))
                name += f"_{round(100 * sparsity)}"
            quantize_on_random_tokens(model)
            write_deployment(model, options.out / name, "int8")


if __name__ == "__main__":
    main()
