"""Knowledge distillation: the distance of a student's outputs from its teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor


def distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float, mask: Tensor | None = None) -> Tensor:
    """Divergence of the softened distributions, KL(teacher || student), scaled by temperature squared.

    KD = T^2 * sum over classes of softmax(t/T) * (log_softmax(t/T) - log_softmax(s/T)), averaged over
    all leading positions in the mask (Hinton et al. 2015, arXiv:1503.02531, section 2).

    Args:
        student: logits, ``(..., classes)``.
        teacher: logits of the same shape.
        temperature: T > 0; larger values show more of the small probabilities.
        mask: bool, ``(...)``, False = left out, as padding is; None: all positions count.

    Returns:
        A scalar in nats.
    """
    log_teacher = F.log_softmax(teacher.float() / temperature, dim=-1)
    log_student = F.log_softmax(student.float() / temperature, dim=-1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)  # (...)
    if mask is not None:
        divergence = divergence[mask]
    return temperature**2 * divergence.mean()


def binary_distillation_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """`distillation_loss` of labels that may hold together, each a distribution over yes and no.

    sigmoid(z) is the softmax of (z, 0).

    Args:
        student: logits, ``(batch, labels)``.
        teacher: logits of the same shape.
        temperature: T > 0.
    """
    yes_no = [torch.stack([logits, torch.zeros_like(logits)], dim=-1) for logits in (student, teacher)]
    return distillation_loss(*yes_no, temperature=temperature)  # (batch, labels, 2)


def regression_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of two predictions of any equal shape.

    A softmax over a single output is always 1, so a regression is distilled on its value
    (Ba & Caruana 2014, arXiv:1312.6184, eq. 1).
    """
    return F.mse_loss(student.float(), teacher.float())


def hidden_state_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared distance of two hidden states over the positions in the mask.

    L = MSE(H_S W, H_T), where the student's states are projected already (Jiao et al. 2020, arXiv:1909.10351, eq. 8).

    Args:
        student: ``(batch, seq, width)``.
        teacher: the same shape.
        mask: ``(batch, seq)``, False or 0 = left out, as padding is; None: all positions count.
    """
    distance = (student.float() - teacher.float()).pow(2).mean(dim=-1)  # (batch, seq)
    if mask is None:
        return distance.mean()
    return (distance * mask).sum() / mask.sum()


def evenly_mapped(student: int, teacher: int) -> dict[int, int]:
    """Map each layer of a student to a layer of the teacher, evenly spread; the last to the last.

    g(m) = m * teacher / student, counted from 1 and rounded up (Jiao et al. 2020, arXiv:1909.10351, section 4.1).
    """
    return {m: -(-(m + 1) * teacher // student) - 1 for m in range(student)}


def mix_losses(task_loss: Tensor, distillation: Tensor, *, hardness: float) -> Tensor:
    """(1 - hardness) * task_loss + hardness * distillation; at hardness 1 the teacher alone counts."""
    if hardness == 1.0:  # 0 * inf would be nan
        return distillation
    return torch.lerp(task_loss, distillation, hardness)
