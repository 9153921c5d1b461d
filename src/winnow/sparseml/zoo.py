"""Stubs (``zoo:...``) of the SparseZoo, a service that no longer exists, and what to use instead."""

import re

from winnow.errors import UserError

# Pattern of a stub -> a similar public model on the hub.
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
    """Refuse a value that starts with ``zoo:``, with a replacement in the message.

    Args:
        setting: recipe.path, model.name, teacher.name or path.
        value: of the setting.
    """
    if value and value.startswith("zoo:"):
        raise UserError(f"{setting}={value}: the SparseZoo no longer exists. {_replacement(setting, value)}")


def _replacement(setting: str, stub: str) -> str:
    sparsity = re.search(r"pruned_?(\d\d)", stub)
    if setting == "recipe.path":
        family = "transfer" if re.search(r"transfer|_quant-none", stub) else "prune"
        native = f"recipe={family}{sparsity[1]}" if sparsity else "recipe=dense"
        return f"Use a local recipe file, or the most similar recipe of Winnow: {native}."
    for pattern, model in _MODELS:
        if re.search(pattern, stub):
            return f"Use a similar model on the hub: {setting}={model.format(sparsity and sparsity[1])}."
    if setting == "teacher.name":
        return "Name a fine-tuned model on the hub or a run folder, or let teacher=dense train one."
    return "Name a model on the hub, or a local folder with weights."
