"""The reference of the commands, made from the commands themselves.

No page can say what a command does not have, or forget what it has.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

PLACE = "% Here is what `render()` makes of the commands.\n"
"""The line of ``docs/commands.md`` that stands for them."""

# What the help has without marks, and Markdown or its typography would change.
_LITERAL = re.compile(
    r"'(trio-oplog[^']*)'"  # a command in quotation marks
    r"|(\[(?:default:|required|x|\d)[^\]]*\])"
    r"|((?:(?<=[\s(])|^)--[a-z-]+|\S+://\S*?(?=[,;]?(?:\s|$))|\b[A-Z]+(?:_[A-Z]+)+\b)"
)


def render(group: click.Group) -> str:
    """The commands of a program, each with its options, as MyST."""
    top = click.Context(group, info_name=group.name)
    commands = list(_commands(top, group))
    rows = [
        f"| [`{_title(context)}`](#{_anchor(context)}) | {_marked(_first(command))} |"
        for context, command in commands
    ]
    lines = ["| command | what it does |", "|---|---|", *rows, ""]
    lines += ["## Options before the command", "", *_usage(top), *_options(top, group)]
    for context, command in commands:
        lines += _section(context, command)
    return "\n".join(lines)


def _commands(
    parent: click.Context, group: click.Group
) -> Iterator[tuple[click.Context, click.Command]]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        yield context, command
        if isinstance(command, click.Group):
            yield from _commands(context, command)


def _section(context: click.Context, command: click.Command) -> Iterator[str]:
    depth = context.command_path.count(" ")
    yield f"{'#' * (depth + 1)} {_title(context)}\n"
    yield from _usage(context)
    for paragraph in _paragraphs(command):
        if paragraph.startswith("trio-oplog "):
            yield f"```bash\n{paragraph}\n```\n"
        else:
            yield f"{_marked(paragraph)}\n"
    yield from _options(context, command)


def _usage(context: click.Context) -> Iterator[str]:
    pieces = context.command.collect_usage_pieces(context)
    yield "```text"
    yield " ".join([context.command_path, *pieces])
    yield "```\n"


def _options(context: click.Context, command: click.Command) -> Iterator[str]:
    yield f"```{{program}} {context.command_path}\n```\n"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if (
            isinstance(parameter, click.Option)
            and record
            and "--help" not in parameter.opts
        ):
            names, text = record
            yield f"```{{option}} {names.replace(' / ', ', ')}"
            yield f"{_marked(text)}\n```\n"


def _paragraphs(command: click.Command) -> list[str]:
    text = inspect.cleandoc(command.help or "").partition("\f")[0].replace("\b\n", "")
    return [" ".join(part.split()) for part in text.split("\n\n") if part]


def _first(command: click.Command) -> str:
    """The first sentence of the help."""
    return re.split(r"(?<=[.])\s", _paragraphs(command)[0])[0]


def _title(context: click.Context) -> str:
    return context.command_path.partition(" ")[2]


def _anchor(context: click.Context) -> str:
    return _title(context).replace(" ", "-")


def _marked(text: str) -> str:
    """The text with what is code marked as that, and all else as plain text."""
    done, parts = 0, []
    text = " ".join(text.split())
    for found in _LITERAL.finditer(text):
        code = found[1] or found[2] or found[3]
        # The end of a sentence is no part of a URL; dots that stand for its rest are.
        end = "." if re.search(r"(?:[^.]|\.{3})\.$", code) else ""
        parts += [
            _plain(text[done : found.start()]),
            f"`{code.removesuffix(end)}`{end}",
        ]
        done = found.end()
    return "".join([*parts, _plain(text[done:])])


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", text)
