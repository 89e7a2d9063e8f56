"""What a test of an asynccache part needs: fakes, and the contract a backend must keep.

Importing this package needs nothing but the library itself; ``BackendContract`` needs pytest and
hypothesis, ``FakeEmbedder`` needs numpy once it embeds, ``RedisServer`` and its kin need a
redis-server on the PATH.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asynccache.testing.cancellation import cancel_at_every_step
from asynccache.testing.clock import FakeClock
from asynccache.testing.decision import FakeDecision, FakeJudge
from asynccache.testing.embedder import FakeEmbedder
from asynccache.testing.entries import make_embedding, make_entry, make_label
from asynccache.testing.fault_proxy import FaultProxy, Faults
from asynccache.testing.upstream import FakeUpstream

if TYPE_CHECKING:
    from asynccache.testing.contract import BackendContract
    from asynccache.testing.redis_servers import RedisServer, redis_cluster, redis_sentinel

__all__ = [
    "BackendContract",
    "FakeClock",
    "FakeDecision",
    "FakeEmbedder",
    "FakeJudge",
    "FakeUpstream",
    "FaultProxy",
    "Faults",
    "RedisServer",
    "cancel_at_every_step",
    "make_embedding",
    "make_entry",
    "make_label",
    "redis_cluster",
    "redis_sentinel",
]


def __getattr__(name: str) -> Any:
    if name == "BackendContract":
        import pytest

        # Without this, a failed assert of the contract would not say what was compared.
        for module in ("contract", "model", "_mirror"):
            pytest.register_assert_rewrite(f"{__name__}.{module}")
        for part in ("capabilities", "changes", "concurrency", "feed", "fills", "labels", "vectors"):
            pytest.register_assert_rewrite(f"{__name__}._contract_{part}")
        from asynccache.testing.contract import BackendContract

        return BackendContract
    if name in {"RedisServer", "redis_cluster", "redis_sentinel"}:
        from asynccache.testing import redis_servers

        return getattr(redis_servers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
