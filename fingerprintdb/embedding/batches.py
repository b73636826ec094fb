"""Batches that concurrent calls share, run by one thread."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from fingerprintdb.embedding.embedder import Array


class Batches:
    """Runs a model on the pieces of concurrent calls, oldest first, a full batch at a time.

    So short calls fill each other's batches. One thread runs all of them: a batch uses every core
    already, and each thread that computes has a pool of OpenMP threads, which get in each other's
    way (two calls at once on two cores took 1.2 times as long where each ran its own batches).
    """

    def __init__(self, model: Callable[[Sequence[Array]], Array], size: int) -> None:
        """Take a function from up to `size` pieces to as many rows."""
        self._model = model
        self._size = size
        self._waiting: deque[tuple[_Call, int]] = deque()
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    def run(self, pieces: Sequence[Array]) -> list[Array]:
        """Return the model's row for each piece, in their order.

        What the model raises is raised in every call that had a piece in that batch. The rest of
        their pieces is dropped; other calls go on.
        """
        call = _Call(pieces)
        with self._lock:
            self._waiting.extend((call, index) for index in range(len(pieces)))
        while not call.is_done:
            self._thread.submit(self._run_next).result()
        if call.error is not None:
            raise call.error
        return [call.rows[index] for index in range(len(pieces))]

    def _run_next(self) -> None:
        """Run the batch that is next, where another call's turn has not done so."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
        if not batch:
            return
        try:
            rows = self._model([call.pieces[index] for call, index in batch])
            for (call, index), row in zip(batch, rows, strict=True):
                call.rows[index] = row
        except Exception as error:  # whatever it is, the callers raise it
            for call, _ in batch:
                call.error = error
            with self._lock:
                self._waiting = deque(piece for piece in self._waiting if not piece[0].error)


class _Call:
    """One caller's pieces, the rows that are there, and what went wrong."""

    def __init__(self, pieces: Sequence[Array]) -> None:
        self.pieces = pieces
        self.rows: dict[int, Array] = {}
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or len(self.rows) == len(self.pieces)
