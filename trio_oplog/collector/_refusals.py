"""What the endpoint says instead of doing something."""

from __future__ import annotations

import msgspec
from starlette.responses import Response


class RefusalError(Exception):
    """A request is not done.

    Attributes:
        status: The status of the response.
        error: Why, as a sentence; never quotes a value.
        field: The part that is wrong, where it is one.
    """

    def __init__(self, status: int, error: str, field: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.error = error
        self.field = field

    def response(self) -> Response:
        """The response that says so."""
        field = {} if self.field is None else {"field": self.field}
        headers = {"WWW-Authenticate": "Bearer"} if self.status == UNAUTHORIZED else None
        return json_response({"error": self.error, **field}, self.status, headers)


UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
