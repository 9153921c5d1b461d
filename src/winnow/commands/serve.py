"""Serve a deployed model over HTTP: ``serve deployment=outputs/runs/...``; SIGTERM and Ctrl-C stop it gracefully."""

import os
import sys
from pathlib import Path
from typing import Annotated

import hydra
from omegaconf import DictConfig
from pydantic import Field

from winnow.commands.hydra_errors import hydra_errors
from winnow.commands.predict import Engine, Precision, YesNoOrNull
from winnow.config.composed import plain_values
from winnow.config.section import Section
from winnow.deployment.engines import CHOICES, check_deployed, check_engine
from winnow.deployment.folder import find_deployment
from winnow.errors import short_errors
from winnow.extras import require_extra
from winnow.files.conf_folder import CONF
from winnow.plain_arguments import decoded, encoded
from winnow.values import Count, CountOrNull, Expected, Positive, Text

_AS_TYPED = ("deployment",)  # read literally: Hydra's grammar does not apply

Port = Annotated[int, Field(ge=0, le=65535), Expected("a port, 0 to 65535")]


class Settings(Section):
    """``conf/serve.yaml`` explains each setting."""

    deployment: Text
    host: Text
    port: Port
    engine: Engine
    precision: Precision
    threads: Count
    workers: CountOrNull
    batch_size: Count
    top_k: CountOrNull
    split_punctuation: YesNoOrNull
    max_rows: Count
    max_bytes: Count
    max_waiting: Count
    request_seconds: Positive
    stop_seconds: Count


def main() -> None:
    sys.argv[1:] = encoded(sys.argv[1:], _AS_TYPED)
    with hydra_errors():
        _main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="serve")
def _main(composed: DictConfig) -> None:
    with short_errors():
        settings = Settings.read(decoded(plain_values(composed), _AS_TYPED))
        for package in ("starlette", "uvicorn"):
            require_extra("serve", "serve", package)
        check_engine(settings.engine, settings.precision, CHOICES)
        check_deployed(find_deployment(Path(settings.deployment)), settings.engine)
        from winnow.deployment.pipeline import open_pipeline  # heavy: only once the settings are checked
        from winnow.serving.app import application
        from winnow.serving.batcher import Batcher
        from winnow.serving.server import bound_socket, serve

        bound = bound_socket(settings.host, settings.port)
        pipeline = open_pipeline(
            settings.deployment,
            settings.engine,
            threads=settings.threads,
            precision=settings.precision,
            top_k=settings.top_k,
            split_punctuation=settings.split_punctuation,
        )
        list(pipeline.predictions([dict.fromkeys(pipeline.deployment.task.input_fields, "a")]))  # a graph may fail
        batcher = Batcher(
            pipeline.predictions,
            threads=settings.workers or max(1, _cores() // settings.threads),
            batch_size=settings.batch_size,
            max_waiting=settings.max_waiting,
        )
        app = application(pipeline, batcher, max_bytes=settings.max_bytes, max_rows=settings.max_rows)
        bound.listen()
        host, port, *_ = bound.getsockname()
        print(f"http://{host}:{port}/predict is ready", flush=True)
        serve(app, bound, request_seconds=settings.request_seconds, stop_seconds=settings.stop_seconds)


def _cores() -> int:
    """Those that this process may use, as with docker's --cpuset-cpus; other systems than Linux name all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
