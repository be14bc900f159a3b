"""A server that answers each connection with what a test sends by hand: slowly, for ever, or not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from stylequeue.local.server import HOST

Answer = Callable[[socket.socket], None]


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """The port of a server that gives each request to `answer`, in a thread of its own."""
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # closed
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while connection.recv(65536):
                    answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        # Closing alone does not end an accept() under way.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def saying(text: str) -> Answer:
    """Says it, and closes."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)

    return answer


def for_ever(before: str, piece: bytes, *, every_s: float = 0.0) -> Answer:
    """Says something, and then the same piece again and again."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(before.encode())
        while True:
            connection.sendall(piece)
            time.sleep(every_s)

    return answer
