"""One training: LightningModule, Trainer, checkpoints, teacher outputs, evaluation."""
