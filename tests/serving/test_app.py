import asyncio
import json

import pytest

from tests.deployed import torch_pipeline
from winnow.serving.app import application
from winnow.serving.batcher import Batcher

LABELS = ["negative", "positive"]
TEXT = {"text": "the plot was good"}
QUESTION = {"question": "who sold?", "context": "bob sold the mill"}


@pytest.fixture(scope="module")
def classify():
    return torch_pipeline("text_classification", LABELS)


@pytest.fixture(scope="module")
def ask():
    return torch_pipeline("question_answering", max_seq_length=64, doc_stride=8, max_question_length=16)


def posted(pipeline, *bodies, method="POST", path="/predict", predict=None, max_waiting=100):
    """(status, content, headers) of the response to each body; all are sent at once."""

    async def request(app, body):
        parts = [
            {"type": "http.request", "body": body[i : i + 100], "more_body": True} for i in range(0, len(body), 100)
        ]
        parts.append({"type": "http.request", "body": b"", "more_body": False})
        sent = []

        async def receive():
            return parts.pop(0)

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "root_path": ""}
        await app(scope, receive, send)
        head, content = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
        return head["status"], json.loads(content), dict(head["headers"])

    async def run():
        batcher = Batcher(predict or pipeline.predictions, threads=1, batch_size=8, max_waiting=max_waiting)
        app = application(pipeline, batcher, max_bytes=1000, max_rows=3)
        return await asyncio.gather(*(request(app, body) for body in bodies))

    return asyncio.run(run())


def answer(pipeline, content):
    ((status, found, headers),) = posted(pipeline, json.dumps(content).encode())
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    return found


def test_answers_are_those_of_the_pipeline(classify, ask):
    assert answer(classify, TEXT) == answer(classify, TEXT["text"]) == classify(TEXT)
    rows = [{**TEXT, "id": 7}, {"text": "bad"}]
    assert answer(classify, rows) == classify(rows)
    assert answer(ask, QUESTION) == ask(QUESTION)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "the body is no JSON: Expecting property name"),
        (b"\xff\xfe\xff", 400, "the body is no JSON: "),
        (b"[" * 1000, 400, "the body is "),  # nested too deeply, or no JSON
        (b"[]", 400, "the body has 0 rows; it may have 1 to 3"),
        (b'["a", "b", "c", "d"]', 413, "the body has 4 rows; it may have 1 to 3"),
        (b'{"text": "' + b"a" * 1000 + b'"}', 413, "the body has more than 1,000 bytes"),
        (b'{"txt": "a"}', 400, "row 1: there is no column 'text', only txt"),
        (b'[{"text": "a"}, {"text": " "}]', 400, "row 2: text is empty"),
        (b'{"text": ["a"]}', 400, "row 1: text must be a text, got"),
        (b"null", 400, "row 1: text is empty"),
        (b'{"text": "\\ud800"}', 400, "row 1: text is invalid text: unpaired surrogate"),
    ],
)
def test_a_body_that_cannot_be_predicted_gets_one_short_message(classify, body, status, message):
    ((found, content, _),) = posted(classify, body)
    assert (found, list(content)) == (status, ["error"])
    assert content["error"].startswith(message)
    assert "=" not in content["error"]  # no remedy of the command line


def test_a_question_without_a_context_is_named(ask):
    ((status, content, _),) = posted(ask, b'{"question": "who?"}')
    assert (status, content["error"]) == (400, "row 1: there is no column 'context', only question")


def test_requests_above_the_limit_are_to_come_later(classify):
    *answered, (status, content, headers) = posted(classify, *[json.dumps(TEXT).encode()] * 3, max_waiting=1)
    assert [found for found, _, _ in answered] == [200, 200]  # one in the thread, one that waits
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert content["error"].startswith("too many rows wait")


def test_a_failed_prediction_is_an_error_of_the_server(classify, capsys):
    def predict(rows):
        raise ValueError("secret")

    ((status, content, _),) = posted(classify, json.dumps(TEXT).encode(), predict=predict)
    assert (status, content) == (500, {"error": "the prediction failed"})
    assert capsys.readouterr().err == "error: secret\n"


@pytest.mark.parametrize(
    ("method", "path", "status", "content"),
    [
        ("GET", "/health", 200, {"status": "ok", "waiting": 0}),
        ("GET", "/predict", 405, {"error": "Method Not Allowed"}),
        ("GET", "/", 404, {"error": "Not Found"}),
    ],
)
def test_other_requests(classify, method, path, status, content):
    ((found, said, _),) = posted(classify, b"", method=method, path=path)
    assert (found, said) == (status, content)
