import threading
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from tests.toys import demo_data, fit, toy_data, toy_model
from winnow.config.outputs import Cache
from winnow.errors import UserError
from winnow.models.teacher import Teacher
from winnow.modifiers.distillation import Distillation
from winnow.modifiers.hidden_distillation import HiddenDistillation
from winnow.training import teacher_cache
from winnow.training.teacher_cache import TeacherCache


class CountingTeacher(Teacher):
    calls = 0

    def forward(self, **inputs):
        self.calls += 1
        return super().forward(**inputs)


def teacher_of(data, seed=5, order=None, **changes):
    return CountingTeacher(toy_model(data.task, seed=seed, **changes), order)


def stored(teacher, data, folder, *, steps=100, autocast="32-true", accumulate=1, **settings):
    """What a run of so many steps gets from the cache in a folder; None where its teacher runs live."""
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, precision=autocast, accumulate_grad_batches=accumulate, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    cache = Cache(**{"folder": str(folder), "gigabytes": 1.0, "precision": "float32", **settings})
    return TeacherCache(teacher, data, trainer, cache, folder / "run").outputs(steps)


def weights_after(data, teacher, **settings):
    distillation = Distillation(name="distillation", teacher=teacher, hardness=0.5, temperature=2.0)
    fitted = fit(distillation, data=data, model=toy_model(data.task), epochs=3, accumulate_grad_batches=2, **settings)
    return fitted.model.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def entries(folder):
    return sorted(path for path in folder.glob("teacher-*"))


def kept_by_the_run(folder):
    return sorted(path for path in folder.glob("run/teacher_outputs/teacher-*"))


@pytest.fixture(scope="module")
def data():
    return toy_data()


@pytest.mark.parametrize("task", ["demo", "demo_questions", "demo_entities"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_weights_are_equal_to_the_bit_whether_outputs_are_found_computed_or_not_kept(
    configured, tmp_path, monkeypatch, task, precision
):
    monkeypatch.setattr(teacher_cache, "_TOKENS", 100)
    data = demo_data(configured(f"task={task}"), batch_size=5, drop_last=True)

    def trained(folder, **settings):
        """The weights of a student, and how many batches its teacher reads before the training."""
        teacher = teacher_of(data)
        teacher.stored = stored(teacher, data, folder, autocast=precision, **settings)
        calls, teacher.calls = teacher.calls, 0
        torch.nn.init.zeros_(list(teacher.model.parameters())[-2])  # the weights of the head: not used any more
        weights = weights_after(data, teacher, precision=precision)
        assert teacher.calls == 0
        return weights, calls

    computed, calls = trained(tmp_path / "cache")
    assert calls > 1
    for folder, settings, expected in (("cache", {}, 0), ("none", {"gigabytes": 0}, calls)):
        weights, calls = trained(tmp_path / folder, **settings)
        assert calls == expected
        assert same(weights, computed)


def test_the_outputs_of_a_teacher_do_not_depend_on_the_batch_size(tmp_path):
    first, second = (
        stored(teacher_of(data), data, tmp_path / str(size))
        for size, data in ((size, toy_data(batch_size=size, eval_batch_size=size)) for size in (3, 16))
    )
    assert first.header["sha256"] == second.header["sha256"]


@pytest.mark.parametrize("task", ["demo", "demo_questions", "demo_entities"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_stored_outputs_are_those_of_a_live_teacher_up_to_rounding(configured, tmp_path, task, precision):
    data, mixed = demo_data(configured(f"task={task}"), rows=40, batch_size=3), precision != torch.float32
    teacher = teacher_of(data, hidden_size=64, intermediate_size=96)
    read = stored(teacher, data, tmp_path, autocast="bf16-mixed" if mixed else "32-true")
    for batch in data.train_dataloader():
        with torch.autocast("cpu", precision, enabled=mixed):
            live = teacher.outputs(data.task, batch)
        tokens = batch["attention_mask"].bool() if data.task.outputs_per_token else ...
        for name in data.task.output_names:
            torch.testing.assert_close(
                getattr(read.of(batch), name)[tokens],
                getattr(live, name).float()[tokens],
                rtol=0,
                atol=(8 if mixed else 64) * torch.finfo(precision).eps,
            )


@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_of_every_epoch_has_the_outputs_of_its_own_texts(configured, tmp_path, workers):
    data = demo_data(configured("task=demo_questions"), rows=20, batch_size=3, num_workers=workers)
    teacher = teacher_of(data)
    read, loader = stored(teacher, data, tmp_path), data.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            outputs, expected, tokens = read.of(batch), teacher.outputs(data.task, batch), batch["attention_mask"] == 1
            torch.testing.assert_close(outputs.start_logits[tokens], expected.start_logits[tokens])
            torch.testing.assert_close(outputs.end_logits[tokens], expected.end_logits[tokens])
            assert (outputs.start_logits[~tokens] == 0).all()


def test_the_teacher_reads_the_training_data_once_for_several_runs(data, tmp_path, capsys):
    first, second = teacher_of(data), teacher_of(data)
    stored(first, data, tmp_path)
    stored(second, toy_data(batch_size=4, seed=7), tmp_path)
    assert (first.calls, second.calls) == (1, 0)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Teacher's outputs: 40 texts, computed once for all epochs and runs."
    assert said[1] == f"Teacher's outputs: 40 texts, 0.0 MB, computed in 0 s, in {entries(tmp_path)[0]}"
    assert said[2] == f"Teacher's outputs: 40 texts, 0.0 MB, found in {entries(tmp_path)[0]}"


def test_nothing_is_stored_for_padding(configured, tmp_path):
    data = demo_data(configured("task=demo_entities"))
    read = stored(teacher_of(data), data, tmp_path)
    assert read.bytes == data.lengths("train").sum() * len(data.task.labels) * 4
    assert (entries(tmp_path)[0] / "outputs.bin").stat().st_size == read.bytes
    assert stored(teacher_of(data), data, tmp_path, precision="float16").bytes == read.bytes / 2


def test_another_teacher_other_texts_or_another_precision_have_a_separate_entry(data, tmp_path, monkeypatch):
    def made(teacher=None, data=data, **settings):
        before = entries(tmp_path)
        stored(teacher or teacher_of(data), data, tmp_path, **settings)
        return len(entries(tmp_path)) - len(before)

    assert made() == 1
    assert made() == 0
    assert made(teacher_of(data, seed=6)) == 1
    assert made(teacher_of(data, layer_norm_eps=1e-6)) == 1
    assert made(teacher_of(data, order=[1, 0])) == 1
    of_tokens = teacher_of(data)
    of_tokens.model.__class__ = type("BertForTokens", (type(of_tokens.model),), {})
    assert made(of_tokens) == 1
    assert made(data=toy_data(rows=41)) == 1
    other = toy_data()  # as another tokenizer would have it
    ids = [[*row[:-2], row[-1], row[-2]] for row in other.encoded["train"]["input_ids"]]
    encoded = other.encoded["train"].remove_columns("input_ids").add_column("input_ids", ids)
    other.encoded["train"] = encoded
    assert made(data=other) == 1
    assert made(autocast="bf16-mixed") == 1
    assert made(precision="float16") == 1
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")  # oneDNN has read it long ago: nothing is computed otherwise
    assert made() == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert made() == 1


def test_the_labels_of_the_texts_do_not_matter_nor_does_the_order_of_training(data, tmp_path):
    stored(teacher_of(data), data, tmp_path)
    other = toy_data(seed=9, drop_last=True, batch_size=3)
    labels = [1 - label for label in other.encoded["train"]["labels"]]
    other.encoded["train"] = other.encoded["train"].remove_columns("labels").add_column("labels", labels)
    stored(teacher_of(data), other, tmp_path)
    assert len(entries(tmp_path)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: flip_a_bit(entry / "outputs.bin"),
        lambda entry: (entry / "outputs.bin").write_bytes((entry / "outputs.bin").read_bytes()[:-4]),
        lambda entry: (entry / "outputs.bin").unlink(),
        lambda entry: (entry / "header.json").write_text("{"),
        lambda entry: (entry / "header.json").write_text("[]"),
        lambda entry: (entry / "header.json").unlink(),
        lambda entry: replace(entry / "header.json", "float32", "float16"),
    ],
)
def test_a_damaged_entry_is_detected_and_computed_again(data, tmp_path, capsys, damage):
    batch = next(iter(data.train_dataloader()))
    expected = stored(teacher_of(data), data, tmp_path).of(batch).logits
    (entry,) = entries(tmp_path)
    damage(entry)
    assert torch.equal(stored(teacher_of(data), data, tmp_path).of(batch).logits, expected)
    assert f"note: {entry} is damaged" in capsys.readouterr().out
    again = teacher_of(data)
    stored(again, data, tmp_path)
    assert again.calls == 0


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[17] ^= 1
    path.write_bytes(bytes(content))


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_an_entry_is_written_completely_or_not_at_all(data, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_cache, "_TOKENS", 100)

    class DyingTeacher(CountingTeacher):
        def forward(self, **inputs):
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().forward(**inputs)

    with pytest.raises(KeyboardInterrupt):
        stored(DyingTeacher(toy_model(data.task, seed=5)), data, tmp_path)
    assert entries(tmp_path) == []
    assert stored(teacher_of(data), data, tmp_path).rows == 40


def test_beyond_the_limit_the_least_recently_used_entries_are_removed(data, tmp_path):
    stored(teacher_of(data, seed=1), data, tmp_path)
    limit = 2.5e-9 * sum(file.stat().st_size for file in entries(tmp_path)[0].iterdir())
    for seed in (1, 2):
        stored(teacher_of(data, seed=seed), data, tmp_path, gigabytes=limit)
    first, second = sorted(entries(tmp_path), key=lambda path: path.stat().st_mtime_ns)
    stored(teacher_of(data, seed=1), data, tmp_path, gigabytes=limit)
    stored(teacher_of(data, seed=3), data, tmp_path, gigabytes=limit)
    left = entries(tmp_path)
    assert (first in left, second in left, len(left)) == (True, False, 2)


@pytest.mark.parametrize("gigabytes", [0, 1e-8])
def test_outputs_that_do_not_fit_into_the_cache_are_kept_by_the_run_until_it_has_trained(
    data, tmp_path, capsys, gigabytes
):
    stored(teacher_of(data), data, tmp_path, gigabytes=gigabytes)
    (entry,) = kept_by_the_run(tmp_path)
    assert entries(tmp_path) == []
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Teacher's outputs: 40 texts, computed once for all epochs of this run."
    assert lines[1] == f"Teacher's outputs: 40 texts, 0.0 MB, computed in 0 s, in {entry}"
    resumed = teacher_of(data)
    stored(resumed, data, tmp_path, gigabytes=gigabytes)
    assert resumed.calls == 0
    TeacherCache(resumed, data, None, None, tmp_path / "run").remove_own()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_teacher_of_less_than_an_epoch_runs_live_and_a_line_is_printed(data, tmp_path, capsys):
    assert stored(teacher_of(data), data, tmp_path, steps=4) is None
    assert capsys.readouterr().out == (
        "Teacher's outputs: the training ends within the first epoch, so it runs live.\n"
    )
    assert entries(tmp_path) == []


def test_a_teacher_runs_live_if_its_outputs_do_not_fit_on_the_disk(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(teacher_cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    assert stored(teacher_of(data), data, tmp_path) is None
    assert f"its outputs take 3.2e-07 GB, and 1e-07 are free in {tmp_path}, so it runs" in capsys.readouterr().out


def test_accumulated_batches_count_towards_the_first_epoch(data, tmp_path):
    assert stored(teacher_of(data), data, tmp_path, steps=3, accumulate=2) is not None


def test_a_teacher_whose_hidden_states_are_learnt_runs_live_in_the_order_of_the_batch(data, tmp_path, capsys):
    teacher = teacher_of(data)
    HiddenDistillation(name="hidden", teacher=teacher, weight=1.0)
    assert stored(teacher, data, tmp_path) is None
    assert "its hidden states are learnt too, so it runs live" in capsys.readouterr().out
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(teacher.outputs(data.task, batch).logits, data.task.outputs(teacher, batch).logits)


def test_a_teacher_of_random_inputs_runs_live(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(type(data.task), "random_inputs", True)
    assert stored(teacher_of(data), data, tmp_path) is None
    assert "its texts look different in each batch, so it runs live" in capsys.readouterr().out


def test_a_teacher_runs_live_if_the_disk_is_full(data, tmp_path, capsys, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(teacher_cache, "write_outputs", full)
    assert stored(teacher_of(data), data, tmp_path) is None
    assert "its outputs could not be written ([Errno 28] No space left on device)" in capsys.readouterr().out
    assert entries(tmp_path) == []


def test_a_folder_that_cannot_be_used_is_named(data, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cache\.folder=.*file cannot be used .*cache\.gigabytes=0"):
        stored(teacher_of(data), data, tmp_path / "file")


def test_two_runs_that_start_together_compute_the_outputs_once(data, tmp_path, capsys):
    started, teachers = threading.Event(), [teacher_of(data), teacher_of(data)]

    class SlowTeacher(CountingTeacher):
        def forward(self, **inputs):
            started.set()
            other.join(timeout=0.2)
            return super().forward(**inputs)

    teachers[0] = SlowTeacher(toy_model(data.task, seed=5))
    other = threading.Thread(target=lambda: (started.wait(), stored(teachers[1], data, tmp_path)))
    other.start()
    stored(teachers[0], data, tmp_path)
    other.join(timeout=20)
    assert [teacher.calls for teacher in teachers] == [1, 0]
    assert "Teacher's outputs: another process computes them." in capsys.readouterr().out


def test_half_precision_rounds_to_eleven_bits(data, tmp_path):
    batch = next(iter(data.train_dataloader()))
    whole, half = (
        stored(teacher_of(data), data, tmp_path, precision=p).of(batch).logits for p in ("float32", "float16")
    )
    assert half.dtype == torch.float32
    assert not torch.equal(whole, half)
    torch.testing.assert_close(half, whole, rtol=2**-11, atol=2**-25)
