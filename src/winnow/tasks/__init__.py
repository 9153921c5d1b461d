"""Tasks: rows to features, head, loss, metrics, predictions. Each task is one class, named by a file in conf/task."""
