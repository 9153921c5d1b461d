"""Translation of SparseML's distillation modifiers."""

import re

from winnow.sparseml.modifier_translation import ModifierTranslation


def distillation(modifier: ModifierTranslation) -> None:
    modifier.add(
        "distillation",
        hardness=modifier.values.get("hardness", 0.5),
        temperature=modifier.values.get("temperature", 2.0),
        start_epoch=modifier.start,
        end_epoch=modifier.end,
    )
    if keys := modifier.values.get("distill_output_keys"):
        listed = ", ".join(map(str, keys if isinstance(keys, list) else [keys]))
        modifier.note(f"distill_output_keys {listed}: the outputs of the task's head are always used")
    modifier.differs("padding is not part of the loss; with teacher=self the teacher has the weights before training")


def per_layer_distillation(modifier: ModifierTranslation) -> None:
    student, teacher = modifier.values.get("student_layer_names"), modifier.values.get("teacher_layer_names")
    student, teacher = student or teacher or [], teacher or student or []
    if len(student) != len(teacher):
        raise modifier.error(
            f"student_layer_names has {len(student)} names and teacher_layer_names {len(teacher)}; "
            "both need the same number."
        )
    numbers = [[_layer_number(modifier, name) for name in names] for names in (student, teacher)]
    modifier.add(
        "hidden_distillation",
        weight=modifier.values.get("gain", 1.5),
        layers=dict(zip(*numbers, strict=True)) or "auto",
        start_epoch=modifier.start,
        end_epoch=modifier.end,
    )
    modifier.differs("outputs of whole layers are compared, normalised and projected as hidden_distillation does")


def _layer_number(modifier: ModifierTranslation, name: str) -> int:
    match = re.search(r"\blayers?\.(\d+)\b", name)
    if match is None:
        raise modifier.error(f"{name} contains no numbered layer, such as bert.encoder.layer.3.")
    return int(match[1])
