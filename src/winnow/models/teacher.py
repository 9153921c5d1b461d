"""Teachers: frozen models whose outputs have the same classes, in the same order, as the student's."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from winnow.config.teacher import Teacher as TeacherSettings
from winnow.data.stored_outputs import StoredOutputs
from winnow.errors import UserError, visible
from winnow.files.local_files import looks_local, resolve_model_folder
from winnow.files.token_limit import token_limit
from winnow.models.encoder_layers import state_of_kept_layers
from winnow.models.finite import are_finite, check_weights
from winnow.models.pretrained import from_pretrained, load_saved
from winnow.models.structures import restore_structure
from winnow.tasks.objective import Objective
from winnow.tasks.task import Task


class Teacher(nn.Module):
    """A frozen model in evaluation mode whose output classes are reordered to the student's.

    Args:
        model: its head and tokenizer match the student's; one of transformers, except for its outputs alone.
        order: for each of the student's labels the teacher's output; None where the orders are the same.
    """

    def __init__(self, model: nn.Module, order: Sequence[int] | None = None) -> None:
        super().__init__()
        self.model: Any = model.requires_grad_(False)
        self.model.train(False)
        self.order = None if order is None or list(order) == list(range(len(order))) else list(order)
        self.stored: StoredOutputs | None = None  # outputs on the training data; None: it computes them in each batch
        self.shows_states = False  # a modifier reads its hidden states, which are not stored
        self._last: tuple[Any, Any] = (None, None)  # a batch and the outputs for it

    @property
    def config(self) -> PreTrainedConfig:
        config: PreTrainedConfig = self.model.config
        return config

    @property
    def base_model(self) -> nn.Module:
        """The encoder without the head; models of transformers have the same attribute."""
        encoder: nn.Module = self.model.base_model
        return encoder

    @torch.no_grad()
    def forward(self, **inputs: torch.Tensor) -> Any:
        outputs = self.model(**inputs)
        if self.order is not None:
            outputs.logits = outputs.logits[..., self.order]
        return outputs

    @torch.no_grad()
    def outputs(self, task: Objective, batch: Mapping[str, torch.Tensor]) -> Any:
        """The outputs for a training batch of a task, stored or computed now; several callers cost one forward pass.

        Outputs computed now agree with stored ones up to rounding: the batch has other texts and other padding, and
        some processors then sum a matrix product in another order.
        """
        if self._last[0] is not batch:
            self._last = (batch, task.outputs(self, batch) if self.stored is None else self.stored.of(batch))
        return self._last[1]

    def fault(self, task: Objective, batch: Mapping[str, torch.Tensor]) -> str:
        """Why a student cannot learn from its outputs for a batch, with a remedy; '' where they are finite."""
        if are_finite(self.outputs(task, batch)):
            return ""
        return "the outputs of the teacher are NaN or infinite; name another teacher, or use trainer.precision=32-true"

    def refuse_student(self, student: nn.Module, modifier: str) -> None:
        """Refuse a student that is the teacher itself: it would be frozen."""
        if student is self.model:
            raise UserError(f"{modifier}: the teacher is the model to train; give it a copy: copy.deepcopy(model).")

    def give_weights_to(self, student: nn.Module) -> bool:
        """Copy all weights into a student of the same shapes and label order; returns False for any other student.

        A student that has dropped layers gets the weights of the layers that it has kept.
        """
        mine, theirs = state_of_kept_layers(self.model, student), student.state_dict()
        same = mine.keys() == theirs.keys() and all(mine[name].shape == theirs[name].shape for name in mine)
        if same and self.order is None:
            student.load_state_dict(mine)
        return same and self.order is None


def as_teacher(model: nn.Module | None) -> Teacher | None:
    """A model as a teacher; it is frozen and set to evaluation mode, in place."""
    return model if model is None or isinstance(model, Teacher) else Teacher(model)


def find_teacher(
    teacher: TeacherSettings,
    student: PreTrainedModel,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    dense: Path | None,
) -> Teacher | None:
    """The teacher of a configuration, or None.

    Args:
        teacher: the section.
        student: with its starting weights.
        task: of the student.
        tokenizer: of the student.
        train: the prepared training split.
        dense: folder of the dense run, needed for teacher=dense.
    """
    if teacher.kind == "none":
        return None
    if teacher.kind == "self":
        return self_teacher(student)
    if teacher.kind == "dense":
        assert dense is not None
        model = load_saved(dense / "model", task)
        check_weights(model, f"the dense teacher in {dense}", "train it again with recipe=dense")
        return Teacher(model)
    assert teacher.name is not None  # the section has checked it
    found = checkpoint_teacher(teacher.name, task, tokenizer, task.texts(train))
    check_same_vocabulary(student, found.model, teacher.name)
    check_weights(found.model, f"teacher.name={teacher.name}", "name another teacher")
    return found


def self_teacher(student: PreTrainedModel) -> Teacher:
    """A copy of the starting weights."""
    if student.new_head:
        print(
            "warning: teacher=self learns from the starting weights, whose head is untrained; "
            "start from a fine-tuned model: model.name=FOLDER."
        )
    return Teacher(copy.deepcopy(student))


def checkpoint_teacher(name: str, task: Task, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Any]) -> Teacher:
    """A fine-tuned model from a folder, a run folder or the hub.

    Args:
        name: folder or hub name.
        task: of the student; labels are matched by name, in any order.
        tokenizer: of the student; the teacher's must give the same token ids.
        texts: training texts on which the two tokenizers are compared.

    Raises:
        UserError: for a model that cannot teach this student.
    """
    source: str | Path = resolve_model_folder(name, "teacher.name") if looks_local(name) else name
    try:
        model, report = from_pretrained(task.auto_model, source, dtype=torch.float32, output_loading_info=True)
        teacher_tokenizer = from_pretrained(AutoTokenizer, source, **task.tokenizer_options)
    except UserError:
        raise
    except Exception as error:
        message = (str(error).strip() or "no message").splitlines()[0].rstrip(".")
        raise UserError(f"teacher.name={name}: the model could not be read ({message}).") from error
    if report["missing_keys"]:
        raise UserError(
            f"teacher.name={name} is not fine-tuned for {task.name}: it has no trained head "
            f"({sorted(report['missing_keys'])[0]} is missing). Fine-tune it with recipe=dense, or use teacher=dense."
        )
    order = label_order(model.config, task, name)
    check_same_tokenizer(tokenizer, teacher_tokenizer, texts, name)
    longest, limit = min(task.max_length, tokenizer.model_max_length), token_limit(model.config.to_dict())
    if limit is not None and longest > limit:
        raise UserError(
            f"teacher.name={name} reads {limit} tokens at most, but {task.name} has texts of up to {longest}; "
            "name another teacher, or shorten the texts."
        )
    if isinstance(source, Path):
        restore_structure(model, source)
    return Teacher(model, order)


def label_order(config: Any, task: Task, name: str) -> list[int] | None:
    """The teacher's index of each of the task's labels; None for a regression or labels without names."""
    head = task.head_settings()
    expected = head.get("num_labels", config.num_labels)
    theirs = [str(config.id2label[i]) for i in range(config.num_labels)]
    if config.num_labels != expected:
        raise UserError(
            f"teacher.name={name} has {config.num_labels} outputs ({_listed(theirs)}), but {task.name} has "
            f"{expected} ({_listed(task.labels) or 'a number'}); name a teacher of the same task."
        )
    kind, their_kind = head.get("problem_type"), getattr(config, "problem_type", None)
    if kind and their_kind and kind != their_kind:
        raise UserError(
            f"teacher.name={name} is a model for {their_kind}, but {task.name} is a {kind}; "
            "name a teacher of the same task."
        )
    if not task.labels:
        return None
    if all(label == f"LABEL_{i}" for i, label in enumerate(theirs)):
        labels = visible(_listed(task.labels))
        print(f"note: the teacher's labels have no names; this run assumes {labels}, in this order.")
        return None
    index = {label.casefold(): i for i, label in enumerate(theirs)}
    if {label.casefold() for label in task.labels} != set(index):
        raise UserError(
            f"teacher.name={name} has the labels {_listed(theirs)}, but {task.name} has {_listed(task.labels)}; "
            "name a teacher of the same task."
        )
    return [index[label.casefold()] for label in task.labels]


def check_same_tokenizer(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, texts: Sequence[Any], name: str
) -> None:
    """Refuse a teacher whose tokenizer gives other token ids than the student's."""
    for text in texts:
        if student(text)["input_ids"] != teacher(text)["input_ids"]:
            raise UserError(
                f"teacher.name={name} has another tokenizer than the student: '{str(text)[:40]}' becomes "
                f"{teacher(text)['input_ids'][:6]}, not {student(text)['input_ids'][:6]}; "
                "name a teacher of the same model family."
            )


def check_same_vocabulary(student: PreTrainedModel, teacher: PreTrainedModel, name: str) -> None:
    """Refuse a teacher with a vocabulary of another size, where the head predicts tokens."""
    output_embeddings: Any = student.get_output_embeddings  # without types
    if output_embeddings() is None or student.config.vocab_size == teacher.config.vocab_size:
        return
    raise UserError(
        f"teacher.name={name} predicts {teacher.config.vocab_size:,} tokens, the student "
        f"{student.config.vocab_size:,}; name a teacher with the same vocabulary."
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
