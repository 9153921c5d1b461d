"""Names of settings in other tools, such as transformers' TrainingArguments and its example scripts."""

from collections.abc import Collection

# What to write, the first one whose setting the command has: how others call it. NAME=VALUE is an option or a value.
_OTHER_NAMES: dict[tuple[str, ...], str] = {
    ("model.name", "deployment", "run"): "model_name_or_path model_name model_path pretrained_model checkpoint",
    ("deployment", "run", "path", "model.name"): "model run deployment model_dir folder",
    ("teacher.name", "teacher=checkpoint teacher.name"): "teacher_name_or_path teacher_name distill_teacher",
    ("task",): "task_name",
    ("task.data.path", "deployment", "run"): "dataset_name dataset data data_dir path",
    ("task.data.subset",): "subset dataset_config_name",
    ("task.data.files.train",): "train_file train files",
    ("task.data.files.validation",): "validation_file eval_file dev_file",
    ("task.data.files.test", "file"): "test_file",
    ("task.data.text_columns", "text_columns"): "text_column text_column_name",
    ("task.data.label_column",): "label_column_name target_column",
    ("task.data.batch_size", "batch_size"): "batch_size per_device_train_batch_size train_batch_size bs",
    ("task.data.eval_batch_size", "batch_size"): "per_device_eval_batch_size",
    ("task.data.drop_last",): "dataloader_drop_last",
    ("task.max_length", "task.max_seq_length"): "max_length max_seq_length max_len seq_length block_size",
    ("task.metrics",): "metric_for_best_model",
    ("file", "path"): "input input_file texts",
    ("out", "output_dir"): "output output_file output_dir",
    ("recipe.num_epochs",): "epochs num_train_epochs max_epochs num_epochs",
    ("recipe.optimizer.learning_rate",): "learning_rate lr",
    ("recipe.optimizer.weight_decay",): "weight_decay",
    ("recipe.optimizer.max_grad_norm",): "max_grad_norm gradient_clip_val",
    ("recipe.learning_rate.warmup",): "warmup warmup_ratio warmup_steps",
    ("recipe.learning_rate.schedule",): "schedule lr_scheduler_type lr_scheduler scheduler",
    ("recipe.pruning.final_sparsity", "recipe=prune80"): "sparsity target_sparsity",
    ("recipe=prune80",): "prune pruning",
    ("recipe.pruning.structure",): "structure",
    ("recipe=prune80_quant", "export.precision=int8"): "quantize quantization int8",
    ("recipe.structure.target_speedup", "recipe=fast4_quant"): "speedup target_speedup",
    ("recipe.layers.keep", "recipe=layers6"): "num_layers num_hidden_layers",
    ("recipe.distillation.temperature",): "temperature distill_temperature",
    ("recipe.distillation.hardness",): "hardness distill_hardness alpha",
    ("teacher=dense",): "distill distillation",
    ("trainer.accumulate_grad_batches",): "gradient_accumulation_steps",
    ("trainer.precision=16-mixed", "export.precision=float16"): "fp16",
    ("trainer.precision=bf16-mixed",): "bf16",
    ("trainer.precision", "export.precision"): "precision mixed_precision",
    ("trainer.accelerator",): "accelerator device",
    ("trainer=ddp",): "ddp num_processes",
    ("trainer=cpu",): "no_cuda use_cpu",
    ("trainer.devices",): "gpus num_gpus",
    ("trainer.num_workers",): "dataloader_num_workers",
    ("trainer.log_every_n_steps",): "logging_steps",
    ("trainer.checkpoint_every",): "save_steps",
    ("trainer.patience",): "early_stopping_patience",
    ("trainer.deterministic",): "full_determinism",
    ("resume=true",): "resume_from_checkpoint",
    ("logger",): "report_to",
    ("logger=wandb",): "wandb use_wandb",
    ("hydra.run.dir",): "run_name logging_dir",
    ("export=onnx",): "onnx export_onnx",
}
SYNONYMS = {name: written for written, names in _OTHER_NAMES.items() for name in names.split()}


def synonym(typed: str, settings: Collection[str]) -> str | None:
    """What to write for a setting that the command does not have, or None.

    Args:
        typed: the full name, such as ``learning_rate`` or ``dense.lr``.
        settings: full names of the settings and sections of the command.
    """
    section, _, last = typed.rpartition(".")
    for written in SYNONYMS.get(last, ()):
        if typed.startswith("dense."):  # it has the settings of a recipe
            written = written.replace("recipe.", "dense.")
        name, _, value = written.partition("=")
        if name in settings and not (section and value):
            return written
    return None
