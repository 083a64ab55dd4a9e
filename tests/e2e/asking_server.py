"""An MCP server on stdio whose tool asks a person before it does anything."""

from __future__ import annotations

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

server = MCPServer("asking", version="1.0", log_level="ERROR")


class Confirmation(BaseModel):
    sure: bool


@server.tool()
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@server.tool()
def fail() -> str:
    """Fail."""
    raise ToolError("no use")


@server.tool()
async def delete(path: str, ctx: Context) -> str:
    """Delete a file, if somebody agrees."""
    answer = await ctx.elicit(f"Delete {path}?", Confirmation)
    return "deleted" if answer.action == "accept" else "kept"


if __name__ == "__main__":
    server.run("stdio")
