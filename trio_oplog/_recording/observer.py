"""What a gateway shows its frames to."""

from __future__ import annotations

from typing import Protocol

from trio_oplog._recording.envelope import Frame


class FrameObserver(Protocol):
    """Watches one connection: what a bridge asks of an ``Interceptor``, and no more.

    An ``Interceptor`` is one, and so is what ``trio_oplog.testing.capture`` yields; one of your own may stand in front of either,
    or look for something else.  It is called from one task at a time, and holds up the traffic for as long as it takes.
    """

    def on_client_frame(self, frame: Frame, /) -> object:
        """Look at a frame from the client to the server, before it is forwarded.

        Args:
            frame: Text, or UTF-8 in any bytes-like object.  It is to be neither altered nor kept.
        """

    def on_server_frame(self, frame: Frame, /) -> object:
        """Look at a frame from the server to the client, before it is forwarded.

        Args:
            frame: Text, or UTF-8 in any bytes-like object.  It is to be neither altered nor kept.
        """

    def close(self) -> object:
        """The connection ended: there are no more frames."""
