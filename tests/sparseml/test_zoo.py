import pytest

from winnow.errors import UserError
from winnow.sparseml.zoo import refuse_stub

LIKE = "The like on the model hub: {}={}."
OBERT = "zoo:nlp/masked_language_modeling/obert-{}/pytorch/huggingface/wikipedia_bookcorpus/{}"
RECIPE = "Take a recipe file that you have kept, or a recipe of ours: recipe={} is the nearest kind."


@pytest.mark.parametrize(
    ("setting", "stub", "answer"),
    [
        (
            "model.name",
            OBERT.format("base", "pruned90-none"),
            LIKE.format("model.name", "neuralmagic/oBERT-12-upstream-pruned-unstructured-90-v2"),
        ),
        (
            "model.name",
            OBERT.format("base", "pruned97-none"),
            LIKE.format("model.name", "neuralmagic/oBERT-12-upstream-pruned-unstructured-97-v2"),
        ),
        (
            "model.name",
            OBERT.format("medium", "base-none"),
            LIKE.format("model.name", "neuralmagic/oBERT-6-upstream-pretrained-dense"),
        ),
        (
            "teacher.name",
            "zoo:nlp/question_answering/obert-base/pytorch/huggingface/squad/base-none",
            LIKE.format("teacher.name", "neuralmagic/oBERT-teacher-squadv1"),
        ),
        (
            "teacher.name",
            "zoo:nlp/token_classification/bert/conll",
            "Name a fine-tuned model of the hub or a run folder, or let teacher=dense train one.",
        ),
        ("model.name", "zoo:cv/resnet", "Name a model of the hub or a folder of weights that you have kept."),
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
def test_a_stub_gets_an_answer_that_says_what_to_take_instead(setting, stub, answer):
    with pytest.raises(UserError) as refused:
        refuse_stub(setting, stub)
    assert str(refused.value) == f"{setting}={stub}: the SparseZoo is gone. {answer}"


@pytest.mark.parametrize("name", [None, "", "bert-base-uncased", "zoo/model", "models/zoo:x"])
def test_any_other_name_passes(name):
    refuse_stub("model.name", name)
