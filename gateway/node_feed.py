"""A follower's place in the list: what it is told next, a page at a time, from everybody who is there to what changes.

Every change has a version of its own. Told in that order, each event says by its version that everything up to it was
told, so a follower resumes wherever its stream broke, also in the middle of the first listing. The listing is in the
order of the last changes, too: what changes meanwhile comes behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.change_log import version_of
from gateway.registry import Registry
from gateway.registry_values import SUSPECTED, NodeRecord
from gateway.shown_nodes import LEADER, News
from raftgossip.ids import NodeId

PAGE = 500
"""Changes that are read from the registry at once, while everybody else waits."""


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One change of the list."""

    kind: str
    """`reset` (forget everybody), `joined`, `updated`, `suspected`, `left` or `leader`."""
    version: int
    """The list's after it; 0: so much is still to come that who breaks off here must begin again."""
    node_id: NodeId | None = None
    """None: a reset, or nobody leads any more."""
    record: NodeRecord | None = None
    """As it is now; None: it is gone, or there is none."""
    term: int = 0


@dataclass(slots=True)
class NodeFeed:
    """How far one follower was told; `read` it again and again.

    Invariant: what is not told yet is behind `_step`.
    """

    version: int
    """Before the first page, where the follower says it left off; then the version of the last page."""
    registry_id: str
    """Which registry counts it. Of another one than is read, or with a version from which it cannot be told on: the
    follower hears a reset, then everybody."""
    is_behind: bool = field(default=True, init=False)
    """There is more than was read."""
    _step: int | None = field(default=None, init=False)
    """In the log; None: it has not been looked up."""
    _known_step: int = field(default=0, init=False)
    """The follower knows all who came up to here; 0: nobody."""
    _begun_step: int = field(default=0, init=False)
    """Where the reset was made."""
    _told: set[NodeId] = field(default_factory=set, init=False)
    """Who was told of since `_known_step`, while there are pages to come."""

    def backlog(self, registry: Registry) -> int:
        """So many changes are to be told, about."""
        step = self._find(registry)
        return len(registry.log) if step is None else registry.log.num_since(step)

    def read(self, registry: Registry, limit: int = PAGE) -> list[FeedEvent]:
        """What comes next; of what has changed at most `limit` changes."""
        step = self._find(registry)
        news = None if step is None else registry.news(step, self._begun_step, limit)
        is_reset = step is None or news is None
        if news is None:
            news = self._begin(registry, limit)
        events = [event for each in news if (event := self._event(each)) is not None]
        self.is_behind = len(news) == limit
        self._step = news[-1].step if self.is_behind else registry.log.step
        self.version = version_of(self._step)
        if not self.is_behind:
            self._known_step = self._step
            self._told.clear()
        return [FeedEvent("reset", 0 if events else self.version), *events] if is_reset else events

    def _find(self, registry: Registry) -> int | None:
        """Its place in the log; None: there is none."""
        if self._step is None and self.version > 0 and self.registry_id == registry.registry_id:
            step = registry.log.step_of(self.version)
            self._step, self._known_step = (step, step) if step > 0 else (None, 0)
        return self._step

    def _begin(self, registry: Registry, limit: int) -> list[News]:
        self.registry_id = registry.registry_id
        self._known_step, self._begun_step = 0, registry.log.step
        self._told.clear()
        news = registry.news(0, self._begun_step, limit)
        assert news is not None
        return news

    def _event(self, news: News) -> FeedEvent | None:
        """What to tell; None: the follower never heard of what is gone."""
        version, record = version_of(news.step), news.record
        if news.key == LEADER:
            is_nothing = record is None and news.step <= self._begun_step
            node_id = None if record is None else record.node_id
            return None if is_nothing else FeedEvent("leader", version, node_id, record, news.term)
        was_told = news.key in self._told
        if record is None:
            self._told.discard(news.key)
            return FeedEvent("left", version, news.key) if was_told or self._known_step else None
        self._told.add(news.key)
        is_new = news.came > self._known_step and not was_told
        kind = "suspected" if record.status == SUSPECTED else "joined" if is_new else "updated"
        return FeedEvent(kind, version, news.key, record)
