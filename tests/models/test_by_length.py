import numpy as np
import pytest
import torch

from src.models.by_length import outputs_by_length
from src.models.teacher import Teacher
from tests.toys import demo_data, toy_data, toy_model


def outputs(teacher, data, rows):
    """What is said of some training rows that come in one batch, by row, as one tensor without padding."""
    batch = data.task.collator(data.tokenizer)(data.encoded["train"].remove_columns("length")[rows])
    said = outputs_by_length(teacher, data.task, batch)
    together = torch.stack([getattr(said, name) for name in data.task.output_names], dim=1)
    lengths = batch["attention_mask"].sum(dim=1).tolist() if data.task.outputs_per_token else [None] * len(rows)
    return {row: values[:, :length] for row, values, length in zip(rows, together, lengths, strict=True)}


@pytest.mark.parametrize("task", ["demo", "demo_questions", "demo_entities"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_is_said_of_a_text_does_not_depend_on_the_others_of_its_batch_nor_on_padding(configured, task, precision):
    data = demo_data(configured(f"task={task}"), rows=40)
    teacher = Teacher(toy_model(data.task, seed=5, hidden_size=64, intermediate_size=96))
    lengths = data.lengths("train")
    assert len(set(lengths)) > 3
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        together = outputs(teacher, data, list(range(40)))
        for batches in (range(40), torch.randperm(40).split(7), lengths.argsort().reshape(5, 8)):
            for batch in batches:
                rows = torch.as_tensor(batch).reshape(-1).tolist()
                assert all(torch.equal(said, together[row]) for row, said in outputs(teacher, data, rows).items())


def test_it_is_what_a_forward_pass_says_and_nothing_for_padding(configured):
    data = demo_data(configured("task=demo_entities"))
    teacher = Teacher(toy_model(data.task, seed=5))
    batch = data.task.collator(data.tokenizer)(data.encoded["train"].remove_columns("length")[:])
    said = outputs_by_length(teacher, data.task, batch).logits
    read = batch["attention_mask"].bool()
    torch.testing.assert_close(said[read], data.task.outputs(teacher, batch).logits[read])
    assert not read.all()
    assert (said[~read] == 0).all()


def test_a_text_is_not_padded_beyond_what_the_model_can_read():
    data = toy_data()
    longest = int(data.lengths("train").max())
    assert longest % 8
    teacher = Teacher(toy_model(data.task, max_position_embeddings=longest))
    assert len(outputs(teacher, data, list(range(40)))) == 40


def test_nor_on_how_threads_share_the_rows():
    data, threads = toy_data(rows=60), torch.get_num_threads()
    teacher = Teacher(toy_model(data.task, seed=5, hidden_size=384, num_attention_heads=12, intermediate_size=64))
    length = data.lengths("train")
    alike = np.flatnonzero(-(-length // 8) == 2)[:11].tolist()
    assert len(alike) == 11
    torch.set_num_threads(2)
    try:
        alone = {row: outputs(teacher, data, [row])[row] for row in alike}
        for rows in (alike[:9], alike[:10], alike):  # the second thread would get one to three of them
            assert all(torch.equal(said, alone[row]) for row, said in outputs(teacher, data, rows).items())
    finally:
        torch.set_num_threads(threads)
