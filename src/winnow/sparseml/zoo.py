"""Stubs of the SparseZoo, a service that is gone, and what stands in for what it held."""

import re

from winnow.errors import UserError

# What a stub of a model says -> the public model on the hub that is like it.
_MODELS = (
    (
        r"obert-base/.*/wikipedia_bookcorpus/.*pruned9[07]",
        "neuralmagic/oBERT-12-upstream-pruned-unstructured-{}-v2",
    ),
    (r"obert-base/.*/wikipedia_bookcorpus/base-none", "neuralmagic/oBERT-12-upstream-pretrained-dense"),
    (r"obert-medium/.*/wikipedia_bookcorpus/base-none", "neuralmagic/oBERT-6-upstream-pretrained-dense"),
    (r"obert-small/.*/wikipedia_bookcorpus/base-none", "neuralmagic/oBERT-3-upstream-pretrained-dense"),
    (r"/squad/base-none", "neuralmagic/oBERT-teacher-squadv1"),
    (r"/mnli/base-none", "neuralmagic/oBERT-teacher-mnli"),
    (r"/qqp/base-none", "neuralmagic/oBERT-teacher-qqp"),
)


def refuse_stub(setting: str, value: str | None) -> None:
    """Refuse a name that begins with ``zoo:`` and say what to take instead.

    Args:
        setting: as the command line names it: recipe.path, model.name or teacher.name.
        value: what was given.
    """
    if value and value.startswith("zoo:"):
        raise UserError(f"{setting}={value}: the SparseZoo is gone. {_instead(setting, value)}")


def _instead(setting: str, stub: str) -> str:
    sparsity = re.search(r"pruned_?(\d\d)", stub)
    if setting == "recipe.path":
        word = "transfer" if re.search(r"transfer|_quant-none", stub) else "prune"
        native = f"recipe={word}{sparsity[1]}" if sparsity else "recipe=dense"
        return f"Take a recipe file that you have kept, or a recipe of ours: {native} is the nearest kind."
    for pattern, model in _MODELS:
        if re.search(pattern, stub):
            return f"The like on the model hub: {setting}={model.format(sparsity and sparsity[1])}."
    if setting == "teacher.name":
        return "Name a fine-tuned model of the hub or a run folder, or let teacher=dense train one."
    return "Name a model of the hub or a folder of weights that you have kept."
