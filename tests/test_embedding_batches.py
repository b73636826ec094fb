"""Threads share a model's batches; each gets its own rows, in order, or its own error."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from fingerprintdb.embedding.batches import Batches
from fingerprintdb.embedding.embedder import Array

PATIENCE_SEC = 30


class Model:
    """Doubles its pieces; its first batch waits until it is let go, while callers line up."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.has_begun, self.may_go_on = Event(), Event()
        self.running = 0

    def __call__(self, pieces: Sequence[Array]) -> Array:
        self.running += 1
        assert self.running == 1
        self.batches.append([float(piece[0]) for piece in pieces])
        self.has_begun.set()
        assert self.may_go_on.wait(PATIENCE_SEC)
        self.running -= 1
        if any(piece[0] < 0 for piece in pieces):
            raise MemoryError("no room")
        return np.stack([2 * piece for piece in pieces])


def pieces(*numbers: float) -> list[Array]:
    return [np.full(2, number, np.float32) for number in numbers]


def firsts(rows: Sequence[Array]) -> list[float]:
    return [float(row[0]) for row in rows]


def line_up(
    pool: ThreadPoolExecutor, batches: Batches, model: Model, *calls: Sequence[Array]
) -> list[Future[list[Array]]]:
    """Start the calls one after the other, so that the first runs and the others wait in order."""
    started = [pool.submit(batches.run, calls[0])]
    assert model.has_begun.wait(PATIENCE_SEC)
    expected = len(batches._waiting)
    for call in calls[1:]:
        expected += len(call)
        started.append(pool.submit(batches.run, call))
        wait_until(lambda expected=expected: len(batches._waiting) == expected)
    return started


def wait_until(condition: Callable[[], bool]) -> None:
    poll = Event()
    for _ in range(PATIENCE_SEC * 1000):
        if condition():
            return
        poll.wait(0.001)
    raise AssertionError("it never came to that")


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8)


def test_one_call_is_cut_into_batches_and_keeps_its_order() -> None:
    model = Model()
    model.may_go_on.set()
    batches = Batches(model, 4)
    assert firsts(batches.run(pieces(*range(10)))) == [2.0 * n for n in range(10)]
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches.run([]) == []
    assert len(model.batches) == 3


def test_calls_fill_each_others_batches_oldest_first(pool: ThreadPoolExecutor) -> None:
    model = Model()
    batches = Batches(model, 4)
    calls = line_up(pool, batches, model, pieces(1, 2), pieces(3, 4, 5), pieces(6), pieces(7, 8, 9))
    model.may_go_on.set()
    results = [firsts(call.result(PATIENCE_SEC)) for call in calls]
    assert results == [[2, 4], [6, 8, 10], [12], [14, 16, 18]]
    assert model.batches == [[1, 2], [3, 4, 5, 6], [7, 8, 9]]


def test_a_failure_reaches_those_in_the_batch_and_nobody_else(pool: ThreadPoolExecutor) -> None:
    model = Model()
    batches = Batches(model, 3)
    calls = line_up(
        pool,
        batches,
        model,
        pieces(1, 2),
        pieces(3),
        pieces(-1, 4, 5, 6, 7),  # its first two are in the failing batch, the rest is dropped
        pieces(8, 9),
    )
    model.may_go_on.set()
    assert firsts(calls[0].result(PATIENCE_SEC)) == [2, 4]
    for call in calls[1:3]:
        with pytest.raises(MemoryError, match="no room"):
            call.result(PATIENCE_SEC)
    assert firsts(calls[3].result(PATIENCE_SEC)) == [16, 18]
    assert model.batches == [[1, 2], [3, -1, 4], [8, 9]]
    assert firsts(batches.run(pieces(10))) == [20]


def test_rows_that_are_too_few_are_an_error_and_no_wait() -> None:
    batches = Batches(lambda given: np.stack(given)[:1], 4)
    with pytest.raises(ValueError, match="zip"):
        batches.run(pieces(1, 2))


def test_an_interrupt_ends_its_thread_and_leaves_the_model_free() -> None:
    def interrupted(given: Sequence[Array]) -> Array:
        if given[0][0] < 0:
            raise KeyboardInterrupt
        return np.stack(given)

    batches = Batches(interrupted, 4)
    with pytest.raises(KeyboardInterrupt):
        batches.run(pieces(-1))
    assert firsts(batches.run(pieces(1))) == [1]


def test_many_threads_get_what_is_theirs(pool: ThreadPoolExecutor) -> None:
    model = Model()
    model.may_go_on.set()
    batches = Batches(model, 7)
    calls = [range(100 * n, 100 * n + 3 * n) for n in range(30)]
    results = pool.map(lambda call: firsts(batches.run(pieces(*call))), calls)
    assert list(results) == [[2.0 * n for n in call] for call in calls]
    assert max(map(len, model.batches)) <= 7
