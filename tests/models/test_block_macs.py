import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from winnow.config.modifiers import StructureSettings
from winnow.models.block_macs import macs_table

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
TOKENS = 10


def settings(**changes):
    return StructureSettings(target_speedup=2, sequence_length=TOKENS, **changes)


def model_of(kind, head=AutoModelForSequenceClassification):
    if kind == "distilbert":
        config = AutoConfig.for_model(kind, vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=24)
    else:
        config = AutoConfig.for_model(kind, pad_token_id=1, **SIZES)
    return head.from_config(config, attn_implementation="eager").eval()


def counted(model, batch):
    """What torch counts in a call, two operations for a multiply-accumulate."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.full((batch, TOKENS), 5), torch.ones(batch, TOKENS, dtype=torch.long))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("head", [AutoModelForSequenceClassification, AutoModelForQuestionAnswering])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
def test_the_whole_model_has_the_multiply_accumulates_that_torch_counts(kind, head):
    model = model_of(kind, head)
    table = macs_table(model, settings(batch_size=2))
    assert table.total([(2, 24)] * 3) == table.dense == counted(model, batch=2)


def test_blocks_of_zeros_save_linear_layers_but_not_the_matmuls_of_attention():
    model = model_of("bert")
    dense, sparse = (
        macs_table(model, settings(engine="sparse", precision="int8", block4_sparsity=s)) for s in (0.0, 0.75)
    )
    assert sparse.dense == dense.dense
    assert sparse.rest == dense.rest
    assert sparse.neurons[24] == dense.neurons[24] / 4
    products = 2 * TOKENS * TOKENS * 8
    assert sparse.heads[1] == (dense.heads[1] - products) / 4 + products


def test_the_sizes_are_those_of_a_measured_table():
    table = macs_table(model_of("bert"), settings())
    assert list(table.heads) == [0, 1, 2]
    assert list(table.neurons) == [0, 4, 8, 12, 16, 20, 24]
