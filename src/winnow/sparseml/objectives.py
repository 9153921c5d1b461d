"""SparseML's distillation, and the length of training."""

import re

from winnow.sparseml.steps import Step


def epoch_range(step: Step) -> None:
    """Nothing by itself: it counts when the length of training is worked out."""


def distillation(step: Step) -> None:
    step.take(
        "distillation",
        hardness=step.values.get("hardness", 0.5),
        temperature=step.values.get("temperature", 2.0),
        start_epoch=step.start,
        end_epoch=step.end,
    )
    if step.values.get("distill_output_keys"):
        listed = ", ".join(map(str, step.values["distill_output_keys"]))
        step.note(f"distill_output_keys {listed}: the outputs of the task's head are always taken")
    step.differs("padding does not count; teacher=self learns from the starting weights")


def per_layer_distillation(step: Step) -> None:
    student, teacher = step.values.get("student_layer_names"), step.values.get("teacher_layer_names")
    student, teacher = student or teacher or [], teacher or student or []
    if len(student) != len(teacher):
        raise step.error(
            f"student_layer_names are {len(student)}, teacher_layer_names {len(teacher)}; they must be pairs."
        )
    pairs = {_layer_number(step, mine): _layer_number(step, its) for mine, its in zip(student, teacher, strict=True)}
    step.take(
        "hidden_distillation",
        weight=step.values.get("gain", 1.5),
        layers=pairs or "auto",
        start_epoch=step.start,
        end_epoch=step.end,
    )
    step.differs("the outputs of whole layers are compared, with our own normalisation and projection")


def _layer_number(step: Step, name: str) -> int:
    match = re.search(r"\blayers?\.(\d+)\b", name)
    if match is None:
        raise step.error(f"{name} is in no numbered layer, such as bert.encoder.layer.3.")
    return int(match[1])
