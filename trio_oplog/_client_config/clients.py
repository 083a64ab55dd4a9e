"""Which MCP clients there are, and where they keep their configuration on Linux and macOS."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from trio_oplog._client_config.changes import Keys

_MCP_SERVERS: Final[tuple[Keys, ...]] = (("mcpServers",),)


class Client(NamedTuple):
    """Where a client keeps its configuration.

    Attributes:
        name: What people call it.
        linux: The file on Linux.  ``~`` is the user's home, ``$CONFIG`` the folder of configurations, ``$NAME`` a variable.
        macos: The file on macOS.
        places: The tables of servers in it, outermost key first; ``"*"`` stands for every key.
    """

    name: str
    linux: str
    macos: str
    places: tuple[Keys, ...] = _MCP_SERVERS


class Place(NamedTuple):
    """The configuration of a client on this machine.

    Attributes:
        client: What people call the client.
        path: The file, which need not exist.
        places: See ``Client``.
    """

    client: str
    path: Path
    places: tuple[Keys, ...]


_MACOS: Final = "~/Library/Application Support"
_CODE: Final = ("$CONFIG/Code/User", f"{_MACOS}/Code/User")
_INSIDERS: Final = ("$CONFIG/Code - Insiders/User", f"{_MACOS}/Code - Insiders/User")
_SERVERS: Final[tuple[Keys, ...]] = (("servers",),)
_IN_SETTINGS: Final[tuple[Keys, ...]] = (("mcp", "servers"),)
_ZED: Final[tuple[Keys, ...]] = (("context_servers",), ("agent_servers",))
_OPENCODE: Final[tuple[Keys, ...]] = (("mcp",), ("mcp", "servers"))


def _everywhere(name: str, path: str, places: tuple[Keys, ...] = _MCP_SERVERS) -> Client:
    return Client(name, path, path, places)


def _below(folders: tuple[str, str], name: str, path: str, places: tuple[Keys, ...] = _MCP_SERVERS) -> Client:
    return Client(name, f"{folders[0]}/{path}", f"{folders[1]}/{path}", places)


CLIENTS: Final = (
    _below(("$CONFIG", _MACOS), "Claude Desktop", "Claude/claude_desktop_config.json"),
    _everywhere("Claude Code", "~/.claude.json", (("mcpServers",), ("projects", "*", "mcpServers"))),
    _below(_CODE, "VS Code", "mcp.json", _SERVERS),
    _below(_CODE, "VS Code (settings)", "settings.json", _IN_SETTINGS),
    _below(_INSIDERS, "VS Code Insiders", "mcp.json", _SERVERS),
    _below(_INSIDERS, "VS Code Insiders (settings)", "settings.json", _IN_SETTINGS),
    _below(_CODE, "Cline", "globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"),
    _below(_CODE, "Roo Code", "globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json"),
    _everywhere("GitHub Copilot CLI", "$COPILOT_HOME/mcp-config.json"),
    _everywhere("Cursor", "~/.cursor/mcp.json"),
    _everywhere("Windsurf", "~/.codeium/windsurf/mcp_config.json"),
    _everywhere("Zed", "$CONFIG/zed/settings.json", _ZED),
    _everywhere("Codex", "$CODEX_HOME/config.toml", (("mcp_servers",),)),
    _everywhere("Gemini CLI", "~/.gemini/settings.json"),
    _everywhere("Antigravity", "~/.gemini/antigravity/mcp_config.json"),
    _everywhere("opencode", "$CONFIG/opencode/opencode.json", _OPENCODE),
    _everywhere("opencode", "$CONFIG/opencode/opencode.jsonc", _OPENCODE),
    _everywhere("Kiro", "~/.kiro/settings/mcp.json"),
    _everywhere("Amazon Q", "~/.aws/amazonq/mcp.json"),
    _everywhere("Amazon Q", "~/.aws/amazonq/agents/default.json"),
    _everywhere("LM Studio", "~/.lmstudio/mcp.json"),
)
"""In the order in which they are shown."""

_VARIABLES: Final = {"$CONFIG": ("XDG_CONFIG_HOME", ".config"), "$CODEX_HOME": ("CODEX_HOME", ".codex")} | {
    "$COPILOT_HOME": ("COPILOT_HOME", ".copilot")
}
"""What a path may begin with besides the home: a variable, and the folder below the home where it is not set."""

_ANY: Final[tuple[Keys, ...]] = tuple(dict.fromkeys(keys for client in CLIENTS for keys in client.places))
"""The tables of servers that a file may have of which nothing is known."""


def places(home: Path, environment: Mapping[str, str], platform: str = sys.platform) -> list[Place]:
    """Where the configurations of all clients are, or would be.

    Args:
        home: The user's home.
        environment: The user's environment.
        platform: ``"darwin"`` for macOS; every other one counts as Linux.
    """
    found = []
    for client in CLIENTS:
        start, _, rest = (client.macos if platform == "darwin" else client.linux).partition("/")
        variable, folder = _VARIABLES.get(start, ("", ""))
        base = Path(environment.get(variable) or home / folder)
        found.append(Place(client.name, base / rest, client.places))
    return found


def place_of(path: Path, known: list[Place]) -> Place:
    """What is known of a file: of a client's own all that is, of any other nothing but that it may be some client's."""
    real = os.path.realpath(path)
    return next((place._replace(path=path) for place in known if os.path.realpath(place.path) == real), Place("", path, _ANY))
