"""The LightningModule, and loading of students, teachers and tokenizers."""
