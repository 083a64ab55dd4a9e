"""Shows the lines of a recorded session to what makes operations of them."""

from __future__ import annotations

from trio_oplog._cli.capture import Encoded, HttpLine, Line
from trio_oplog._recording import HttpExchange, HttpTap, Interceptor


class Player:
    """Plays one recorded session, which holds frames or exchanges.

    Args:
        interceptor: What is shown the frames.
        tap: What is shown the exchanges.
    """

    def __init__(self, interceptor: Interceptor, tap: HttpTap) -> None:
        self._interceptor = interceptor
        self._tap = tap
        self._exchanges: dict[int | str, HttpExchange] = {}

    def show(self, line: Line | HttpLine) -> None:
        """Show one line."""
        if isinstance(line, HttpLine):
            self._show_exchange(line)
        elif line.dir == "c2s":
            self._interceptor.on_client_frame(line.crossed)
        else:
            self._interceptor.on_server_frame(line.crossed)

    def close(self) -> None:
        """The session has ended."""
        self._interceptor.close()
        self._tap.close()

    def _show_exchange(self, line: HttpLine) -> None:
        headers = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in line.headers]
        if line.ev == "request":
            self._exchanges[line.x] = self._tap.exchange(line.method, line.path, headers)
            return
        exchange = self._exchanges.get(line.x)
        if exchange is None:
            return
        data = line.data.b64 if isinstance(line.data, Encoded) else line.data.encode()
        match line.ev:
            case "request_body":
                exchange.request_data(data)
                exchange.request_end()
            case "response":
                exchange.response_head(line.status, headers)
            case "response_data":
                exchange.response_data(data)
            case "response_end" if not line.aborted:
                exchange.response_end()
            case "response_end":
                exchange.upstream_failed()
            case _:
                exchange.client_closed()
        if exchange.is_over:
            del self._exchanges[line.x]
