"""What a person reads: progress while training, the summary of a run."""
