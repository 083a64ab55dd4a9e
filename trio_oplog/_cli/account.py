"""What a command says at its end: how many there were of something, and which operations were not delivered."""

from __future__ import annotations

from trio_oplog._delivery import Client


def lost(client: Client) -> str:
    """What was lost and why, as the end of a sentence; empty when nothing was."""
    dropped = client.statistics().dropped
    reasons = ", ".join(f"{count} {reason.value}" for reason, count in dropped.items() if count)
    return f"operations were lost ({reasons}): {client.last_error or 'see the log'}" if reasons else ""


def counted(count: int, noun: str) -> str:
    """A number and what it counts, such as ``1 server`` and ``2 servers``; ``noun`` takes an s for its plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
