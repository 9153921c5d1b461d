"""Prune and distil a model in one's own LightningModule and Trainer.

    python examples/own_lightning_loop.py MODEL DATA FOLDER

MODEL is a hub name or a folder of a BERT-like encoder, DATA what `datasets.load_dataset` opens, with the columns
sentence and label, such as stanfordnlp/sst2. FOLDER gets the dense model, which becomes the teacher, a checkpoint of
each epoch, and the pruned model. ``--resume FOLDER/epoch=1.ckpt`` goes on from a checkpoint and ends with the same
weights.
"""

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from datasets import load_dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

import winnow


class Classifier(pl.LightningModule):
    """Knows nothing of pruning, distillation or Winnow."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def training_step(self, batch, batch_idx):
        return self.model(**batch).loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=5e-5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, help="train on so many")
    parser.add_argument("--resume", help="a checkpoint")
    options = parser.parse_args()
    pl.seed_everything(1)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows = load_dataset(options.data, split="train")
    rows = rows.select(range(options.rows or len(rows)))
    rows = rows.map(lambda row: tokenizer(row["sentence"], truncation=True, max_length=64))
    rows = rows.select_columns([*tokenizer.model_input_names, "label"])
    loader = DataLoader(rows, batch_size=32, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer))

    dense = options.folder / "dense"
    if not dense.is_dir():
        model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=2, dtype="float32")
        pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(Classifier(model.train()), loader)
        model.save_pretrained(dense)

    model, teacher = (AutoModelForSequenceClassification.from_pretrained(dense) for _ in range(2))
    trainer = pl.Trainer(
        max_epochs=options.epochs,
        logger=False,
        callbacks=[
            *winnow.callbacks("prune80", num_epochs=options.epochs, teacher=teacher),
            winnow.RandomState(),  # a resumed training draws the same random numbers
            pl.callbacks.ModelCheckpoint(
                options.folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True
            ),
        ],
    )
    trainer.fit(Classifier(model.train()), loader, ckpt_path=options.resume)

    model.save_pretrained(options.folder / "pruned")
    weights = [weight for name, weight in model.named_parameters() if ".layer." in name and weight.ndim == 2]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    print(f"{zeros:.2%} of the encoder's weights are zero: {options.folder / 'pruned'}")


if __name__ == "__main__":
    main()
