"""Data: reading splits, batches of similar length, the Lightning data module, the embedded demo."""
