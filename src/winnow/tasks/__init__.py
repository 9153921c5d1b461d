"""Tasks: example -> features, head, loss, metrics. One file each, a few lines of conf."""
