"""Batches that concurrent calls share, run by one thread at a time."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition

from fingerprintdb.embedding.embedder import Array


class Batches:
    """Runs a model on the pieces of concurrent calls, oldest first, a full batch at a time.

    A caller that finds the model free runs the next batch, also of others' pieces, until its own
    are done. So short calls fill each other's batches, and no two threads compete for the cores:
    a batch uses all of them already.
    """

    def __init__(self, model: Callable[[Sequence[Array]], Array], size: int) -> None:
        """Take a function from up to `size` pieces to as many rows."""
        self._model = model
        self._size = size
        self._waiting: deque[tuple[_Call, int]] = deque()
        self._is_busy = False
        self._changed = Condition()

    def run(self, pieces: Sequence[Array]) -> list[Array]:
        """Return the model's row for each piece, in their order.

        What the model raises is raised in every call that had a piece in that batch. The rest of
        their pieces is dropped; other calls go on.
        """
        call = _Call(pieces)
        with self._changed:
            self._waiting.extend((call, index) for index in range(len(pieces)))
            self._changed.wait_for(lambda: call.is_done or not self._is_busy)
            if leads := not call.is_done:
                self._is_busy = True
        if leads:
            # It leads until it is done: each thread has its own pool of OpenMP threads.
            try:
                while not call.is_done:
                    self._run_next()
            finally:
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()
        if call.error is not None:
            raise call.error
        return [call.rows[index] for index in range(len(pieces))]

    def _run_next(self) -> None:
        with self._changed:
            count = min(self._size, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
        try:
            rows = self._model([call.pieces[index] for call, index in batch])
            done = list(zip(batch, rows, strict=True))
        except BaseException as error:  # an interrupt too, or the others would wait for ever
            with self._changed:
                for call, _ in batch:
                    call.error = error
                self._waiting = deque(piece for piece in self._waiting if not piece[0].error)
                self._changed.notify_all()
            if not isinstance(error, Exception):
                raise
            return
        with self._changed:
            for (call, index), row in done:
                call.rows[index] = row
            self._changed.notify_all()


class _Call:
    """One caller's pieces, the rows that are there, and what went wrong."""

    def __init__(self, pieces: Sequence[Array]) -> None:
        self.pieces = pieces
        self.rows: dict[int, Array] = {}
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or len(self.rows) == len(self.pieces)
