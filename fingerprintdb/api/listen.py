"""Listens to a microphone over a WebSocket, and says what plays as soon as it is sure."""

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from fastapi.websockets import WebSocketState

from fingerprintdb.api.access import Caller
from fingerprintdb.api.answers import FoundAsset, ListenAnswer, ListenProgress, stages_of
from fingerprintdb.api.problem import ProblemError, problem_of
from fingerprintdb.api.scope import Name
from fingerprintdb.api.service import Service
from fingerprintdb.listening import Heard, Listener, SoundFormat
from fingerprintdb.metrics import observe_search
from fingerprintdb.store import library
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Scope

END = "end"
"""What a client says when nothing more comes."""

IDLE_SEC = 15.0
"""Who sends nothing for so long has gone without a word."""

PCM_BYTES_A_SEC = 2 * 192_000 * 8

router = APIRouter(tags=["listen"])
logger = logging.getLogger(__name__)


@router.websocket("/api/v1/listen")
async def listen(
    socket: WebSocket,
    sound_format: Annotated[SoundFormat, Query(alias="format")] = "container",
    sample_rate: Annotated[int, Query(ge=8_000, le=192_000)] = 48_000,
    channels: Annotated[int, Query(ge=1, le=8)] = 1,
    collection: Name | None = None,
    content_type: Name | None = None,
    k: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> None:
    """Take sound as binary messages, answer as JSON; the text `end` asks for the last word.

    `format` is `container` (WebM or Ogg with Opus, as browsers record it, or any other file) or
    `s16le` (signed 16-bit PCM).
    """
    service: Service = socket.app.state.service
    caller: Caller = socket.state.caller
    await socket.accept()
    try:
        scope = Scope(k=k, collection=caller.scope(collection), content_type=content_type)
        await service.ask(_require_names, collection, content_type)
        talk = _Talk(socket, service, scope, Listener(sound_format, sample_rate, channels))
        await talk.run()
    except WebSocketDisconnect:
        return
    except Exception as error:
        await _refuse(socket, problem_of(error))
    else:
        await socket.close()


def _require_names(
    connection: Connection, collection: str | None, content_type: str | None
) -> None:
    if collection is not None:
        library.require_collection(connection, collection)
    if content_type is not None:
        library.require_content_type(connection, content_type)


async def _refuse(socket: WebSocket, error: ProblemError) -> None:
    if socket.client_state is not WebSocketState.CONNECTED:
        return
    problem = error.problem.model_dump(exclude_none=True)
    await socket.send_json({"event": "problem", "problem": problem})
    # 1011: the server's fault; 1008: the message's (RFC 6455, 7.4.1).
    await socket.close(1011 if error.problem.status >= 500 else 1008)


@dataclass(slots=True)
class _Talk:
    """One client's sound, and the looks at it; sound is taken in while a look runs."""

    socket: WebSocket
    service: Service
    scope: Scope
    listener: Listener
    is_ended: bool = False
    look_sec: float = 0.0
    """What the last look took."""

    async def run(self) -> None:
        """Listen until it is sure, the client has said `end`, or the time is over."""
        loop = asyncio.get_running_loop()
        # Who sends less than it takes to fill a second of sound is not listened to for ever.
        latest_sec = loop.time() + self.service.options.max_listen_sec + IDLE_SEC
        taking = asyncio.create_task(self._take())
        arrived_bytes = 0
        try:
            while not self.is_ended and not taking.done() and loop.time() < latest_sec:
                await asyncio.sleep(0.1)
                if self.listener.received_bytes == arrived_bytes:
                    continue
                arrived_bytes = self.listener.received_bytes
                heard = await self._look(is_last=False)
                if heard is None:
                    continue
                if heard.is_sure:
                    await self._answer(heard)
                    return
                await self._send(ListenProgress(heard_sec=heard.heard_sec))
                if heard.heard_sec >= self.service.options.max_listen_sec:
                    break
            if taking.done():
                taking.result()  # raises what ended it
            heard = await self._look(is_last=True)
            assert heard is not None  # noqa: S101 — the last look always answers
            await self._answer(heard)
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _take(self) -> None:
        options = self.service.options
        most_bytes = min(
            options.max_upload_bytes, round((options.max_listen_sec + IDLE_SEC) * PCM_BYTES_A_SEC)
        )
        while not self.is_ended:
            try:
                message = await asyncio.wait_for(self.socket.receive(), IDLE_SEC)
            except TimeoutError:
                self.is_ended = True
                return
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            if (data := message.get("bytes")) is not None:
                self.listener.feed(data)
                if self.listener.received_bytes > most_bytes:
                    raise ProblemError(413, "too-large", "this is more sound than can be heard")
            elif _is_end(message.get("text")):
                self.is_ended = True
            else:
                raise ProblemError(
                    422,
                    "invalid-message",
                    "this is neither sound nor `end`",
                    "send sound as binary messages",
                )

    async def _look(self, *, is_last: bool) -> Heard | None:
        began = time.perf_counter()
        heard = await self.service.ask(
            self.listener.look, self.service.extractor, self.scope, is_last=is_last
        )
        self.look_sec = time.perf_counter() - began
        return heard

    async def _answer(self, heard: Heard) -> None:
        answer = heard.answer
        stages_ms = {stage.name: stage.elapsed_ms for stage in answer.stages}
        observe_search(answer.verdict, self.look_sec, stages_ms)
        logger.info(
            "listened to %.1f s: %s",
            heard.heard_sec,
            answer.verdict,
            extra={"heard_sec": heard.heard_sec, "verdict": answer.verdict},
        )
        await self._send(
            ListenAnswer(
                found=bool(answer.matches),
                verdict=answer.verdict,
                heard_sec=heard.heard_sec,
                matches=[FoundAsset.of(match) for match in answer.matches],
                stages=stages_of(answer.stages),
                processing_time_ms=self.look_sec * 1000,
            )
        )

    async def _send(self, message: ListenProgress | ListenAnswer) -> None:
        await self.socket.send_json(message.model_dump(mode="json"))


def _is_end(text: str | None) -> bool:
    if text == END:
        return True
    try:
        said: Any = json.loads(text or "")
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("event") == END
