import pytest
import torch

from tests.modifiers.test_quantization import qat
from tests.toys import every_epoch, failure, fit, own_data, review_tables, toy_data, toy_model
from winnow.errors import UserError
from winnow.training.micro_batches import MicroBatches
from winnow.training.module import FineTuner
from winnow.training.random_state import RandomState

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_the_gradient_of_the_parts_is_that_of_the_batch(size):
    data = toy_data()
    task, batch = data.task, next(iter(data.train_dataloader()))
    model = toy_model(task, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def loss_of(batch):
        return task.training_loss(task.outputs(model, batch), batch)

    def gradients(loss):
        (loss / 4).backward()  # as under accumulation
        found = {name: p.grad for name, p in model.named_parameters()}
        model.zero_grad()
        return float(loss.detach()), found

    loss, whole = gradients(loss_of(batch))
    by_parts, summed = gradients(MicroBatches(size).loss(model, batch, loss_of, scale=1024.0))
    assert by_parts == pytest.approx(loss)
    torch.testing.assert_close(summed, whole, rtol=1e-4, atol=1e-7)


def limit_memory(monkeypatch, examples):
    """Let the memory run out at the end of the forward pass of more examples."""
    compute = FineTuner._loss

    def limited(self, batch):
        loss = compute(self, batch)
        if len(batch["input_ids"]) > examples:
            raise RuntimeError(OUT_OF_MEMORY)
        return loss

    monkeypatch.setattr(FineTuner, "_loss", limited)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists")
def test_where_the_memory_runs_out_parts_are_halved_and_nothing_is_counted_twice(tmp_path, monkeypatch, capsys):
    def state(size, folder=tmp_path, **settings):
        callbacks = [RandomState(), every_epoch(folder)]
        fitted = fit(
            qat(start_epoch=0, disable_observer_epoch=1.5),
            epochs=2,
            micro_batch_size=size,
            callbacks=callbacks,
            **settings,
        )
        return fitted.module.state_dict()

    by_two = state(2, folder=tmp_path / "two")
    limit_memory(monkeypatch, examples=3)
    found = state("auto")
    assert capsys.readouterr().out.count("note: out of memory") == 2  # with 8 and 4 of the first batch
    resumed = state("auto", resume=tmp_path / "epoch=0.ckpt")
    assert "out of memory" not in capsys.readouterr().out
    torch.testing.assert_close(found, by_two, rtol=0, atol=0)
    torch.testing.assert_close(resumed, by_two, rtol=0, atol=0)


def test_a_memory_that_is_too_small_for_one_example_is_an_error(monkeypatch):
    limit_memory(monkeypatch, examples=0)
    with pytest.raises(UserError, match=r"too small for a single example of \d+ tokens; add trainer.gradient_check"):
        fit(epochs=1, micro_batch_size="auto")


def test_a_training_that_runs_out_of_memory_names_the_remedies(tmp_path, monkeypatch):
    limit_memory(monkeypatch, examples=3)
    message = failure("train", *own_data(review_tables(tmp_path / "data")), "teacher=none", folder=tmp_path)
    assert message.startswith("error: the memory ran out in training. Try trainer.micro_batch_size=auto")
