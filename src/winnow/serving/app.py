"""The ASGI application: POST /predict and GET /health, in JSON.

The body of /predict is a row, {"text": "a fine film"}, or a list of rows; the answer is what ``predict`` prints for it.
An error is {"error": "what is wrong"}: 400 for a body that cannot be predicted, 413 for one that is too large, 503 with
Retry-After if too many rows wait.
"""

import json
import sys
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from winnow.deployment.pipeline import Pipeline
from winnow.deployment.prediction_files import json_line
from winnow.deployment.rows import CheckedRow, checked_rows
from winnow.errors import UserError, first_line
from winnow.serving.batcher import Batcher, FullError

_RETRY_SECONDS = 1


def application(pipeline: Pipeline, batcher: Batcher, *, max_bytes: int, max_rows: int) -> Starlette:
    """The application for a pipeline.

    Args:
        pipeline: checks rows and names the texts that an answer repeats.
        batcher: predicts them.
        max_bytes: of a body.
        max_rows: of a request.
    """

    async def predict(request: Request) -> Response:
        content = _json(await _body(request, max_bytes))
        rows = content if isinstance(content, list) else [content]
        if not 0 < len(rows) <= max_rows:
            raise HTTPException(413 if rows else 400, f"the body has {len(rows)} rows; it may have 1 to {max_rows}")
        checked = _checked(rows, pipeline)
        try:
            predictions = await batcher.predictions([row.texts for row in checked])
        except FullError:
            raise HTTPException(503, "too many rows wait; try again", {"Retry-After": str(_RETRY_SECONDS)}) from None
        except Exception as error:
            print(f"error: {first_line(error)}", file=sys.stderr, flush=True)
            raise HTTPException(500, "the prediction failed") from error
        repeated = pipeline.row_format.repeated
        answers = [
            {**row.kept, **{name: row.texts[name] for name in repeated}, **prediction}
            for row, prediction in zip(checked, predictions, strict=True)
        ]
        lines = list(map(json_line, answers))
        return _response(f"[{', '.join(lines)}]" if isinstance(content, list) else lines[0])

    async def health(request: Request) -> Response:
        return _response(json.dumps({"status": "ok", "waiting": batcher.waiting}))

    return Starlette(
        routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health)],
        exception_handlers=dict.fromkeys((HTTPException, ClientDisconnect, RecursionError), _refused),
    )


async def _body(request: Request, limit: int) -> bytes:
    """The body; as much of it is in memory as may be, whatever its header says."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise HTTPException(413, f"the body has more than {limit:,} bytes")
    return bytes(body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise HTTPException(400, f"the body is no JSON: {first_line(error)}") from error


def _checked(rows: list[Any], pipeline: Pipeline) -> list[CheckedRow]:
    try:
        return list(checked_rows(((f"row {i}", row) for i, row in enumerate(rows, start=1)), pipeline.row_format))
    except UserError as error:  # its remedy, after the semicolon, is for the command line
        raise HTTPException(400, str(error).partition(";")[0]) from error


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, RecursionError):
        error = HTTPException(400, "the body is nested too deeply")
    elif not isinstance(error, HTTPException):  # the client has gone, or the server stops
        error = HTTPException(503, "the request was interrupted; try again")
    return _response(json.dumps({"error": error.detail}, ensure_ascii=False), error.status_code, error.headers)


def _response(text: str, status: int = 200, headers: Any = None) -> Response:
    return Response(text + "\n", status, headers, "application/json")
