"""Where a session is written: messages become frames, alone or in batches, and the oracle hears of each event."""

from __future__ import annotations

from attrs import Factory, define

from trio_oplog._operation import Config
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._json_text import SpelledId, an_array
from trio_oplog.testing._laws import Law
from trio_oplog.testing._oracle import Oracle
from trio_oplog.testing._session import Direction, Expected, Feature, FrameData, Session, SessionFrame

CLIENT = Direction.CLIENT_TO_SERVER
SERVER = Direction.SERVER_TO_CLIENT

_BATCHES = {CLIENT: Feature.CLIENT_BATCH, SERVER: Feature.SERVER_BATCH}


@define
class _Draft:
    direction: Direction
    messages: list[str] = Factory(list)
    raw: FrameData | None = None
    batch: bool = False
    due: list[Expected] = Factory(list)
    laws: list[Law] = Factory(list)


class SessionBuilder:
    """Writes one session.

    Args:
        config: The session's.
        choices: Decides on spelling and encoding.
        hostile: Whether frames may be spelled in ways that only a tolerant reader reads.
    """

    def __init__(self, config: Config, choices: ChoiceSource, *, hostile: bool) -> None:
        self.config = config
        self.hostile = hostile
        self.oracle = Oracle(config)
        self.gap = choices.pick(("", "", " ", "\n\t"))
        self.escaped = choices.chance(3)
        # What is spoken: most connections speak one dialect.
        self.dialects = choices.pick(((Feature.CODEX, Feature.MCP), (Feature.MCP,), (Feature.CODEX,)))
        # The next message joins the last frame, as a batch, where it goes the same way.
        self.joins = False
        self._choices = choices
        self._drafts: list[_Draft] = []
        self._serial = 0

    @property
    def features(self) -> set[Feature]:
        """What has occurred so far."""
        return self.oracle.features

    def say(self, direction: Direction, message: str, *laws: Law) -> None:
        """Write one message; the oracle is told of its meaning after this."""
        last = self._drafts[-1] if self._drafts else None
        if self.joins and last is not None and last.direction is direction and last.raw is None:
            last.batch = True
            self.features.add(_BATCHES[direction])
        else:
            last = self._begin(_Draft(direction))
        self.joins = False
        last.messages.append(message)
        last.laws += laws

    def say_raw(self, direction: Direction, frame: FrameData, *laws: Law) -> None:
        """Write a frame that is no message of ours."""
        self.joins = False
        self._begin(_Draft(direction, raw=frame, laws=list(laws)))

    def fresh_id(self) -> SpelledId:
        """An id that nobody else uses."""
        self._serial += 1
        return SpelledId(f'"own-{self._serial}"')

    def finish(self, plan: object = None) -> Session:
        """Close the connection.

        Returns:
            The session.
        """
        frames = tuple(
            SessionFrame(direction=draft.direction, data=self._encoded(draft), due=tuple(draft.due), laws=tuple(draft.laws))
            for draft in self._drafts
        )
        unanswered = self.oracle.close()
        features = frozenset(self.features)
        return Session(config=self.config, frames=frames, unanswered=unanswered, features=features, plan=plan)

    def _begin(self, draft: _Draft) -> _Draft:
        self._drafts.append(draft)
        self.oracle.frame = len(self._drafts) - 1
        self.oracle.due = draft.due
        return draft

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
