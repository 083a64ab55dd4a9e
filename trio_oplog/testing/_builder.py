"""Where a session is written: messages become frames, alone or in batches, and the oracle hears of each event."""

from __future__ import annotations

from typing import Final

from attrs import Factory, define

from trio_oplog._operation import Config
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._json_text import SpelledId, an_array, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._oracle import Oracle, World
from trio_oplog.testing._session import Direction, Expected, Feature, FrameData, Session, SessionFrame

CLIENT = Direction.CLIENT_TO_SERVER
SERVER = Direction.SERVER_TO_CLIENT

_BATCHES = {CLIENT: Feature.CLIENT_BATCH, SERVER: Feature.SERVER_BATCH}
_ROOM: Final = 100
# How long it takes from one frame to the next, in turn: multiples of 1/8 second, which clocks add up without an error.
_STEPS: Final = (0.125, 0.25, 0.5, 0.125, 0.0, 1.0, 0.375)


@define
class _Draft:
    direction: Direction
    connection: int
    at: float
    messages: list[str] = Factory(list)
    raw: FrameData | None = None
    batch: bool = False
    due: list[Expected] = Factory(list)
    laws: list[Law] = Factory(list)
    closing: list[Expected] | None = None


class SessionBuilder:
    """Writes one session.

    Args:
        config: The session's.
        choices: Decides on spelling and encoding.
        hostile: Whether frames may be spelled in ways that only a tolerant reader reads.
        connections: How many connections share one table of what waits.
    """

    def __init__(self, config: Config, choices: ChoiceSource, *, hostile: bool, connections: int = 1) -> None:
        self.config = config
        self.hostile = hostile
        self.world = World(config)
        self.oracles = [Oracle(self.world) for _ in range(connections)]
        # How many connections any scenario may use; those that one opens for itself come after them.
        self.shared = connections
        # The next message goes over this connection.
        self.connection = 0
        self.gap = choices.pick(("", "", " ", "\n\t"))
        self.escaped = choices.chance(3)
        # What is spoken: most connections speak one dialect.
        self.dialects = choices.pick(((Feature.CODEX, Feature.MCP), (Feature.MCP,), (Feature.CODEX,)))
        # The next message joins the last frame, as a batch, where it goes the same way.
        self.joins = False
        self._choices = choices
        self._drafts: list[_Draft] = []
        self._serial = 0
        self._at_ms = 1_000

    @property
    def oracle(self) -> Oracle:
        """The account of the connection that the next message goes over."""
        return self.oracles[self.connection]

    @property
    def features(self) -> set[Feature]:
        """What has occurred so far."""
        return self.world.features

    @property
    def roomy(self) -> bool:
        """Whether nothing is recorded for want of room.

        Which call is the oldest once one of them has waited for a round, and what becomes of one that was both refused and
        evicted, the rules leave open.
        """
        return self.config.max_pending >= _ROOM and self.config.max_suspended >= _ROOM

    def say(self, direction: Direction, message: str, *laws: Law) -> None:
        """Write one message; the oracle is told of its meaning after this."""
        last = self._drafts[-1] if self._drafts else None
        same_way = last is not None and (last.direction, last.connection) == (direction, self.connection)
        if self.joins and last is not None and same_way and last.raw is None and last.closing is None:
            last.batch = True
            self.features.add(_BATCHES[direction])
        else:
            last = self._begin(direction)
        self.joins = False
        last.messages.append(message)
        last.laws += laws

    def say_raw(self, direction: Direction, frame: FrameData, *laws: Law) -> None:
        """Write a frame that is no message of ours."""
        self.joins = False
        draft = self._begin(direction)
        draft.raw = frame
        draft.laws += laws

    def request(self, method: str, params: str | None, *laws: Law, **beside: str) -> SpelledId:
        """Write a request of the client's; the caller tells the oracle what it means.

        Returns:
            Its id, which nobody else uses.
        """
        spelled = self.fresh_id()
        members = [("method", quoted(method)), ("id", spelled.text), *beside.items(), ("params", params)]
        self.say(CLIENT, an_object(members, self.gap), *laws)
        return spelled

    def respond(self, spelled: SpelledId, member: str, value: str, *laws: Law) -> None:
        """Write the server's response to a request of the client's."""
        self.say(SERVER, an_object([("id", spelled.text), (member, value)], self.gap), *laws)

    def notify(self, method: str, params: str, *laws: Law, direction: Direction = SERVER) -> None:
        """Write a notification, of the server's unless told otherwise."""
        self.say(direction, an_object([("method", quoted(method)), ("params", params)], self.gap), *laws)

    def ask(self, method: str, params: str, *laws: Law, spelled: str | None = None) -> str:
        """Write a request of the server's.

        Returns:
            Its id, as JSON text.
        """
        spelled = spelled or f'"srv-{self.fresh()}"'
        members = [("method", quoted(method)), ("id", spelled), ("params", params)]
        self.say(SERVER, an_object(members, self.gap), *laws)
        return spelled

    def reply(self, spelled: str, member: str, value: str, *laws: Law) -> None:
        """Write the client's response to a request of the server's."""
        self.say(CLIENT, an_object([("id", spelled), (member, value)], self.gap), *laws)

    def fresh_id(self) -> SpelledId:
        """An id that nobody else uses."""
        return SpelledId(f'"own-{self.fresh()}"')

    def fresh(self) -> int:
        """A number that nobody else uses."""
        self._serial += 1
        return self._serial

    def fresh_ms(self) -> int:
        """A time at which nothing else started."""
        self._at_ms += 7
        return self._at_ms

    def connect(self) -> int:
        """Open one more connection; messages go over it from now on."""
        self.oracles.append(Oracle(self.world))
        self.connection = len(self.oracles) - 1
        return self.connection

    def hang_up(self) -> None:
        """End the connection of the last frame with it."""
        self.world.due = self._drafts[-1].closing = []
        self.oracles[self._drafts[-1].connection].close()

    def pass_time(self, seconds: float) -> None:
        """Let so much time go by before the next frame."""
        self.world.now += seconds

    def finish(self, plan: object = None) -> Session:
        """Close the connection.

        Returns:
            The session.
        """
        frames = tuple(self._frame(draft) for draft in self._drafts)
        self.world.now += _STEPS[0]
        due: list[Expected] = []
        self.world.due = due
        for oracle in self.oracles:
            oracle.close()
        self.world.close()
        return Session(
            config=self.config,
            frames=frames,
            unanswered=tuple(due),
            ended_at=self.world.now,
            features=frozenset(self.features),
            plan=plan,
        )

    def _begin(self, direction: Direction) -> _Draft:
        if self._drafts:
            self.world.now += _STEPS[len(self._drafts) % len(_STEPS)]
        draft = _Draft(direction, self.connection, self.world.now)
        self._drafts.append(draft)
        self.world.frame = len(self._drafts) - 1
        self.world.due = draft.due
        return draft

    def _frame(self, draft: _Draft) -> SessionFrame:
        return SessionFrame(
            direction=draft.direction,
            data=self._encoded(draft),
            due=tuple(draft.due),
            laws=tuple(draft.laws),
            connection=draft.connection,
            at=draft.at,
            closing=None if draft.closing is None else tuple(draft.closing),
        )

    def _encoded(self, draft: _Draft) -> FrameData:
        if draft.raw is not None:
            return draft.raw
        text = an_array(draft.messages, self.gap) if draft.batch else draft.messages[0]
        spelling = self._choices.number(16)
        if spelling == 15 and self.hostile:
            self.features.add(Feature.ODD_SPELLING)
            draft.laws.append(Law.WHAT_JSON_READS)
            return text.encode(self._choices.pick(("utf-8-sig", "utf-16", "utf-16-le", "utf-32-be")))
        if spelling in {13, 14}:
            text = f" \n{text}\r\n"
        return text if spelling % 2 == 0 else text.encode()
