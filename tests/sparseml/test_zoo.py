import pytest

from winnow.errors import UserError
from winnow.sparseml.zoo import refuse_stub

SIMILAR = "Use a similar model on the hub: {}={}."
OBERT = "zoo:nlp/masked_language_modeling/obert-{}/pytorch/huggingface/wikipedia_bookcorpus/{}"
RECIPE = "Use a local recipe file, or the most similar recipe of Winnow: recipe={}."


@pytest.mark.parametrize(
    ("setting", "stub", "remedy"),
    [
        (
            "model.name",
            OBERT.format("base", "pruned90-none"),
            SIMILAR.format("model.name", "neuralmagic/oBERT-12-upstream-pruned-unstructured-90-v2"),
        ),
        (
            "model.name",
            OBERT.format("base", "pruned97-none"),
            SIMILAR.format("model.name", "neuralmagic/oBERT-12-upstream-pruned-unstructured-97-v2"),
        ),
        (
            "model.name",
            OBERT.format("medium", "base-none"),
            SIMILAR.format("model.name", "neuralmagic/oBERT-6-upstream-pretrained-dense"),
        ),
        (
            "teacher.name",
            "zoo:nlp/question_answering/obert-base/pytorch/huggingface/squad/base-none",
            SIMILAR.format("teacher.name", "neuralmagic/oBERT-teacher-squadv1"),
        ),
        (
            "teacher.name",
            "zoo:nlp/token_classification/bert/conll",
            "Name a fine-tuned model on the hub or a run folder, or let teacher=dense train one.",
        ),
        ("model.name", "zoo:cv/resnet", "Name a model on the hub, or a local folder with weights."),
        (
            "recipe.path",
            "zoo:nlp/text_classification/bert-base/pytorch/huggingface/mnli/12layer_pruned90-none",
            RECIPE.format("prune90"),
        ),
        (
            "recipe.path",
            "zoo:nlp/bert-base/wikipedia_bookcorpus/12layer_pruned80_quant-none-vnni?recipe_type=transfer-text_classification",
            RECIPE.format("transfer80"),
        ),
        ("recipe.path", "zoo:nlp/bert-base/base-none", RECIPE.format("dense")),
    ],
)
def test_a_stub_is_refused_with_a_replacement(setting, stub, remedy):
    with pytest.raises(UserError) as refused:
        refuse_stub(setting, stub)
    assert str(refused.value) == f"{setting}={stub}: the SparseZoo no longer exists. {remedy}"


@pytest.mark.parametrize("name", [None, "", "bert-base-uncased", "zoo/model", "models/zoo:x"])
def test_any_other_name_passes(name):
    refuse_stub("model.name", name)
