"""The options that say which operations are meant, written once for ``list``, ``stats`` and ``export``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, NamedTuple, TypeVar

import click

from trio_oplog._cli.times import check_moment, read_moment
from trio_oplog._errors import QueryError
from trio_oplog._listing import ListQuery, StatisticsQuery

OPTION_OF: Final = {
    "workspace_id": "--workspace",
    "user_id": "--user",
    "env_id": "--env",
    "thread_id": "--thread",
    "q": "--grep",
    "is_error": "--errors",
}
"""The options that are called otherwise than the fields of a query."""


Q = TypeVar("Q")


class Filters(NamedTuple):
    """What is asked for, as fields of a ``ListQuery``."""

    user_id: str | None
    env_id: str | None
    tool: str | None
    source: str | None
    client: str | None
    outcome: str | None
    approval: str | None
    is_error: bool | None
    since: str | None
    until: str | None
    thread_id: str | None = None
    q: str | None = None

    def list_query(self, *, utc: bool, **more: Any) -> ListQuery:
        """A list of what is asked for.

        Raises:
            click.UsageError: A value is wrong, or no time lies between the two that were given.
        """
        return _make(ListQuery, {**self._values(utc=utc), **more})

    def statistics_query(self, *, utc: bool, **more: Any) -> StatisticsQuery:
        """Statistics of what is asked for.

        Raises:
            click.UsageError: A value is wrong, cannot be combined with another, or no time lies between the two that were given.
        """
        values = {name: value for name, value in self._values(utc=utc).items() if name not in ("thread_id", "q")}
        return _make(StatisticsQuery, {**values, **more})

    def _values(self, *, utc: bool) -> dict[str, Any]:
        since, until = (None if text is None else read_moment(text, utc=utc) for text in (self.since, self.until))
        if since is not None and until is not None and since >= until:
            raise click.UsageError("--until is no later than --since: nothing can lie between them.")
        return {**self._asdict(), "since": since, "until": until}


def _make(kind: Callable[..., Q], values: dict[str, Any]) -> Q:
    try:
        return kind(**values)
    except QueryError as error:
        problem = usage_error(error)
    raise problem


def usage_error(error: QueryError) -> click.UsageError:
    """What is wrong with the call, by the name of the option."""
    return click.UsageError(f"The value of {OPTION_OF.get(error.field, f'--{error.field}')} {error.problem}.")


_COUNTED: Final = (
    click.option("--user", "user_id", metavar="ID", help="Only calls of this user."),
    click.option("--env", "env_id", metavar="ID", help="Only what ran there."),
    click.option("--tool", metavar="NAME", help="Only calls of this tool."),
    click.option("--source", metavar="NAME", help="Only calls from there, such as llm."),
    click.option("--client", metavar="NAME", help="Only calls of this client, as name/version."),
    click.option("--outcome", metavar="NAME", help="Only what ended so: ok, tool_error, declined, ..."),
    click.option("--approval", metavar="NAME", help="Only with this decision; none, or any."),
    click.option("--errors/--no-errors", "is_error", default=None, help="Only what failed; or only what did not."),
    click.option(
        "--since", metavar="TIME", callback=check_moment, help="Only from then on: 2026-01-31, 12:00, yesterday, 2h, 1w."
    ),
    click.option("--until", metavar="TIME", callback=check_moment, help="Only what began before then."),
)
_FOUND: Final = (
    click.option("--thread", "thread_id", metavar="ID", help="Only calls of this conversation."),
    click.option("--grep", "q", metavar="TEXT", help="Only with this text in the tool, the arguments or the result."),
)


def filter_options(*, counts: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options; the command gets them as ``filters``, which is a ``Filters``.

    Args:
        counts: Whether it is for statistics, which know neither conversations nor texts.
    """
    options = _COUNTED if counts else _COUNTED + _FOUND

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def run(**values: Any) -> Any:
            known = {name: values.pop(name) for name in Filters._fields if name in values}
            return command(filters=Filters(**known), **values)

        for option in reversed(options):
            run = option(run)
        return run

    return decorate
