"""What this process is: the main one of a data-parallel run or another, a job of submitit or not."""

import os
import signal


def is_main_process() -> bool:
    """False in the other processes of a data-parallel run, whatever started them."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def in_submitit() -> bool:
    return "SUBMITIT_EXECUTOR" in os.environ


def stop_signal() -> signal.Signals:
    """The signal that asks a training to save its state and stop.

    In a job of submitit that is SIGUSR2, which it gets before its time is over or another job takes its place. A
    SIGTERM may come with it there, and must not end the job before it is in the queue again.
    """
    return signal.SIGUSR2 if in_submitit() else signal.SIGTERM
