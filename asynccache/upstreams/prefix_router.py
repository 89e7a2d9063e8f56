"""Send requests with one prompt prefix to one replica, as long as no replica gets too much. No I/O.

Rendezvous hashing (Thaler and Ravishankar, 1998) with bounded loads (Mirrokni et al., 2018).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from math import ceil, inf, isfinite
from typing import Final

from asynccache._errors import ConfigurationError
from asynccache._lru import LRU
from asynccache.upstreams._prefix_key import prefix_key
from asynccache.upstreams._prefix_replica import Replica, mean_work

__all__ = ["PrefixRouter", "prefix_key"]

MOST_DOUBLINGS: Final = 5
"""A replica that fails again and again is left out for at most 2**5 times ``eject_seconds``."""

MOST_HOMES: Final = 4096
"""Prefixes of which the router remembers where they went last."""
HOME_LIVES: Final = 10
"""Half-lives for which it does: a prefix that was not asked for so long is hardly held anywhere."""


class PrefixRouter:
    """Chooses a replica for each prefix: always the same one, unless it is down or has too much to do.

    Every prefix ranks the replicas in an order of its own, and its requests go to the first that

    - is not ejected,
    - has at most ``ceil(load_factor * (n + 1) / live)`` requests in flight afterwards, n being in flight
      on all live ones,
    - has had no more than ``work_factor`` times the mean of recent work, and ``slack`` more.

    The second rule spreads a crowd, the third a prefix that makes up most of the traffic while little is
    in flight. Where no replica keeps both, the third is dropped. A prefix that the third has moved stays
    where it went, as long as the rules allow: else now and then a request of every prefix would go
    astray. Where they went last is remembered of the latest 4,096 prefixes, for ten half-lives.

    Recent work fades with ``half_life``, so that sparse traffic stays where its prefix is. As long
    as loads are even, the order depends on names alone: routers in several processes agree on it, and a
    replica that leaves or joins moves about 1/N of the prefixes.

    Not thread-safe. Instants are seconds of one monotonic clock.

    Args:
        replicas: their names or base URLs, each once; at least one.
        load_factor: how far above the mean in flight a replica may be, 1 or more; default 1.25.
        work_factor: how far above the mean of recent work, 1 or more; default 1.15.
        slack: recent work, in requests, by which a replica may be above the mean in any case; default 4.
        half_life: seconds after which work counts half; default 60.
        eject_after: failures in a row that eject a replica; default 1.
        eject_seconds: for how long the first time; twice as long after each further failure, up to 32
            times; default 10.

    Raises:
        ConfigurationError: naming the argument that cannot work.
    """

    def __init__(
        self,
        replicas: Sequence[str],
        *,
        load_factor: float = 1.25,
        work_factor: float = 1.15,
        slack: float = 4.0,
        half_life: float = 60.0,
        eject_after: int = 1,
        eject_seconds: float = 10.0,
    ) -> None:
        if isinstance(replicas, str) or not replicas:
            raise ConfigurationError("replicas: give a sequence of at least one name or URL")
        for name, value, least in (
            ("load_factor", load_factor, 1),
            ("work_factor", work_factor, 1),
            ("slack", slack, 0),
            ("half_life", half_life, 1e-3),
            ("eject_after", eject_after, 1),
            ("eject_seconds", eject_seconds, 0),
        ):
            if not (isfinite(value) and value >= least):
                raise ConfigurationError(f"{name}={value!r}: expected a number of {least} or more")
        self._load_factor: Final = load_factor
        self._work_factor: Final = work_factor
        self._slack: Final = slack
        self._half_life: Final = half_life
        self._eject_after: Final = eject_after
        self._eject_seconds: Final = eject_seconds
        self._replicas: Final[dict[str, Replica]] = {}
        # Where prefixes went last while all replicas had room, by the prefixes' hashes.
        self._homes: Final = LRU[bytes, str](max_items=MOST_HOMES, max_weight=MOST_HOMES)
        self._latest: float | None = None  # instant up to which all work is decayed
        for name in replicas:
            self.add(name)

    @property
    def replicas(self) -> tuple[str, ...]:
        """Names of all replicas, ejected ones too."""
        return tuple(self._replicas)

    @property
    def in_flight(self) -> dict[str, int]:
        """Requests started and not finished, by replica."""
        return {name: replica.in_flight for name, replica in self._replicas.items()}

    def ejected(self, *, now: float) -> tuple[str, ...]:
        """Names of the replicas left out at present."""
        return tuple(name for name, replica in self._replicas.items() if now < replica.until)

    def add(self, replica: str) -> None:
        """Let a replica join.

        It counts as having done the mean of the others' recent work, lest all prefixes rush to it.

        Raises:
            ConfigurationError: it is one already, or no name.
        """
        if not isinstance(replica, str) or not replica or replica in self._replicas:
            raise ConfigurationError(f"replica {replica!r}: expected a new and non-empty name")
        self._replicas[replica] = Replica(replica, work=mean_work(self._replicas.values()))
        self._homes.clear(0.0)  # else prefixes that should move to it would stay

    def remove(self, replica: str) -> None:
        """Let a replica leave; what it has in flight is forgotten. Without effect for an unknown one."""
        self._replicas.pop(replica, None)

    def choose(self, prefix: bytes, *, now: float, without: Collection[str] = ()) -> str | None:
        """The replica for a request; tell ``started`` when it is sent there.

        Args:
            prefix: any bytes, see ``prefix_key``.
            now: the present instant.
            without: names not to be chosen, such as those that have just refused this request.

        Returns:
            A name. When all that are left are ejected, the one that comes back soonest. None only when
            ``without`` names all.
        """
        self._age(now)
        allowed = [replica for name, replica in self._replicas.items() if name not in without]
        if not allowed:
            return None
        key = sha256(prefix).digest()
        home = self._homes.peek(key, now)
        allowed.sort(key=lambda replica: (replica.name != home, replica.place(key)))
        live = [replica for replica in allowed if now >= replica.until]
        if not live:
            return min(allowed, key=lambda replica: replica.until).name
        most = ceil(self._load_factor * (sum(each.in_flight for each in live) + 1) / len(live))
        # The least loaded one is below the mean, so that one is always left.
        room = [replica for replica in live if replica.in_flight < most]
        enough = self._work_factor * mean_work(live) + self._slack
        chosen = next((replica for replica in room if replica.work < enough), room[0]).name
        if len(room) == len(self._replicas):  # else it is an exception, and not where the prefix stays
            self._homes.put(key, chosen, weight=1, until=now + HOME_LIVES * self._half_life, now=now)
        return chosen

    def started(self, replica: str, *, work: float = 1.0) -> None:
        """A request was sent. It counts as ``work`` at the instant of the latest ``choose``.

        Args:
            replica: the name; one that has left meanwhile is passed over.
            work: 1 for a request like the others; more for one that costs more.
        """
        if (found := self._replicas.get(replica)) is not None:
            found.in_flight += 1
            found.work += work

    def finished(self, replica: str) -> None:
        """A request that was ``started`` is over, however it ended."""
        if (found := self._replicas.get(replica)) is not None:
            found.in_flight = max(0, found.in_flight - 1)

    def failed(self, replica: str, *, now: float) -> None:
        """The replica did not serve a request: it could not be reached, was too busy, or broke off.

        What fails while it is ejected was sent before and does not count again.
        """
        found = self._replicas.get(replica)
        if found is None or now < found.until:
            return
        found.failures += 1
        again = found.failures - self._eject_after
        if again >= 0:
            found.until = now + self._eject_seconds * 2 ** min(again, MOST_DOUBLINGS)

    def succeeded(self, replica: str) -> None:
        """The replica served a request: it is in service again, and its failures are forgotten."""
        if (found := self._replicas.get(replica)) is not None:
            found.failures = 0
            found.until = -inf

    def _age(self, now: float) -> None:
        """Let work fade up to ``now``; a clock that stands still or goes back changes nothing."""
        if self._latest is None:
            self._latest = now
        if now > self._latest:
            faded = 0.5 ** ((now - self._latest) / self._half_life)
            self._latest = now
            for replica in self._replicas.values():
                replica.work *= faded
        # Whoever comes back stands level with the others, for the same reason as who joins.
        mean = mean_work(replica for replica in self._replicas.values() if now >= replica.until)
        for replica in self._replicas.values():
            if now < replica.until:
                replica.work = max(replica.work, mean)
