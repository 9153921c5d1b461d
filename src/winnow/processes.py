"""What this process is: the main one of a data-parallel run or another, a job of submitit or not."""

import os


def is_main_process() -> bool:
    """False in the other processes of a data-parallel run, whatever started them."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def in_submitit() -> bool:
    return "SUBMITIT_EXECUTOR" in os.environ
