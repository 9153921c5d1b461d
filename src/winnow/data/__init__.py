"""Data: reading splits, batches of similar lengths, the Lightning data module, the embedded demo."""
