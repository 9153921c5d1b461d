import asyncio
import threading

import pytest

from winnow.serving.batcher import Batcher, FullError


def rows(*texts):
    return [{"text": text} for text in texts]


class Recorder:
    """Predicts the text itself, once it is let go, and records the texts of each batch."""

    def __init__(self):
        self.go = threading.Event()
        self.batches = []

    def __call__(self, batch):
        texts = [row["text"] for row in batch]
        self.batches.append(texts)
        assert self.go.wait(timeout=30)
        if "wrong" in texts:
            raise ValueError("wrong")
        return texts


async def asked(recorder, requests, **settings):
    """The results of requests that arrive while the only thread works on the first one."""
    batcher = Batcher(recorder, **{"threads": 1, "batch_size": 4, "max_waiting": 100, **settings})
    tasks = []
    for request in requests:
        tasks.append(asyncio.create_task(batcher.predictions(rows(*request))))
        await asyncio.sleep(0)
    recorder.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_requests_that_wait_are_predicted_together_and_each_gets_its_own():
    recorder = Recorder()
    requests = [["a"], ["b", "c"], ["d"], ["e", "f"]]
    assert asyncio.run(asked(recorder, requests)) == requests
    assert recorder.batches == [["a"], ["b", "c", "d"], ["e", "f"]]  # 4 rows at most


def test_a_long_text_is_predicted_alone():
    recorder, long = Recorder(), "x" * 20_000
    asyncio.run(asked(recorder, [["a"], ["b"], [long], ["c"]]))
    assert recorder.batches == [["a"], ["b"], [long], ["c"]]


def test_a_request_that_fails_disturbs_no_other_of_its_batch():
    results = asyncio.run(asked(Recorder(), [["a"], ["b"], ["wrong"], ["c"]]))
    assert [str(result) for result in results] == ["['a']", "['b']", "wrong", "['c']"]


def test_more_rows_than_may_wait_are_refused():
    results = asyncio.run(asked(Recorder(), [["a"], ["b"], ["c", "d"], ["e"]], max_waiting=2))
    assert results[:2] == [["a"], ["b"]]
    assert isinstance(results[2], FullError)
    assert results[3] == ["e"]


def test_a_thread_for_each_batch():
    recorder = Recorder()
    asyncio.run(asked(recorder, [["a"], ["b"], ["c"]], threads=2))
    assert recorder.batches[:2] == [["a"], ["b"]]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_request_that_was_given_up_leaves_its_thread_to_others(threads):
    async def run():
        recorder = Recorder()
        batcher = Batcher(recorder, threads=threads, batch_size=1, max_waiting=10)
        given_up = [asyncio.create_task(batcher.predictions(rows("a"))) for _ in range(threads)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        recorder.go.set()
        return await batcher.predictions(rows("b"))

    assert asyncio.run(run()) == ["b"]
