"""Prune and distil a model with `transformers.Trainer`.

    python examples/transformers_trainer.py MODEL DATA FOLDER

MODEL is a hub name or a folder of a BERT-like encoder, DATA what `datasets.load_dataset` opens, with the columns
sentence and label, such as stanfordnlp/sst2. FOLDER gets the dense model, which becomes the teacher, the checkpoints
of the Trainer, and the pruned model. ``--resume FOLDER/checkpoint-20`` goes on from a checkpoint and ends with the
same weights.
"""

import argparse
from pathlib import Path

from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

import winnow


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, help="train on so many")
    parser.add_argument("--resume", help="a checkpoint")
    options = parser.parse_args()
    set_seed(1)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows = load_dataset(options.data, split="train")
    rows = rows.select(range(options.rows or len(rows)))
    data = {
        "train_dataset": rows.map(lambda row: tokenizer(row["sentence"], truncation=True, max_length=64)),
        "data_collator": DataCollatorWithPadding(tokenizer),
    }
    settings = {"output_dir": str(options.folder), "per_device_train_batch_size": 32, "report_to": "none"}

    dense = options.folder / "dense"
    if not dense.is_dir():
        model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2, dtype="float32")
        Trainer(model, TrainingArguments(**settings, num_train_epochs=1, save_strategy="no"), **data).train()
        model.save_pretrained(dense)

    model, teacher = (AutoModelForSequenceClassification.from_pretrained(dense) for _ in range(2))
    modifiers = winnow.callbacks("prune80", num_epochs=options.epochs, teacher=teacher)
    trainer = Trainer(
        model,
        TrainingArguments(**settings, num_train_epochs=options.epochs, save_strategy="epoch"),
        callbacks=[winnow.ModifierCallback(modifiers)],
        **data,
    )
    trainer.train(resume_from_checkpoint=options.resume)

    trainer.save_model(str(options.folder / "pruned"))
    weights = [weight for name, weight in model.named_parameters() if ".layer." in name and weight.ndim == 2]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    print(f"{zeros:.2%} of the encoder's weights are zero: {options.folder / 'pruned'}")


if __name__ == "__main__":
    main()
