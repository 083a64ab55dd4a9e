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
        retry_after: After how many seconds it may be asked again, where that is worth it.
    """

    def __init__(self, status: int, error: str, field: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.error = error
        self.field = field
        self.retry_after = retry_after

    def response(self) -> Response:
        """The response that says so."""
        field = {} if self.field is None else {"field": self.field}
        headers = {"WWW-Authenticate": "Bearer"} if self.status == UNAUTHORIZED else {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return json_response({"error": self.error, **field}, self.status, headers)


UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
