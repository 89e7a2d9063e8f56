"""How much of their prompts do an upstream's replicas know already, with requests shaped and routed, or not?

A simulation of vLLM's prefix cache, 256 blocks of 32 tokens each replica; counts, no times. 120 requests of 8
tenants, as applications write them, and shaped by ``PromptShaper``; with a salt for each tenant, and for each
request. Then 200 shaped requests of 24 tenants, large and small, to 2 replicas, placed in turn, by chance, by
``PrefixRouter``, and by an oracle that knows how many requests of each tenant will come.
"""

from __future__ import annotations

import platform
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any, Final, TypeAlias

from _prefix_simulator import BLOCK, BLOCKS, BlockCache, Counted, tokens
from _prefix_workload import Asked, asked, one_application, prompt, tenants
from _report import options, print_table, save, verdict

from asynccache import Request
from asynccache.stages.shape import PromptShaper
from asynccache.upstreams.prefix_router import PrefixRouter, prefix_key

REQUESTS: Final = 120  # and 200 where they are routed
TENANTS: Final = 8
ROUTED: Final = 24  # tenants
SKEW: Final = 0.8  # Zipf: the largest of 24 tenants sends one request in six
REPLICAS: Final = ("a", "b")
ANSWER: Final = 8  # tokens
APART: Final = 0.5  # seconds between two requests

NAIVE: Final = "as written"
BOTH: Final = "tools sorted, time moved"
BY_TENANT: Final = f"{BOTH}, salt per tenant"
SHARED: Final = "one application for all tenants"
SHARED_SALT: Final = f"{SHARED}, salt per tenant"
PREFIX: Final = "PrefixRouter"
ORACLE: Final = "oracle"
HOT: Final = "PrefixRouter, one tenant with 90 %"

Shape: TypeAlias = Callable[[Asked], Mapping[str, Any]]
Salt: TypeAlias = Callable[[int, Asked], "str | None"]
Place: TypeAlias = Callable[[int, Asked, Mapping[str, Any]], str]


@dataclass(frozen=True)
class Routed:
    """What routing came to with one seed."""

    hit_rate: float
    fullest: float
    """Requests of the fullest replica, in means."""


def shaped_by(shaper: PromptShaper, request: Asked) -> Mapping[str, Any]:
    return shaper.shaped(Request(body=request.body)).body


def as_written(request: Asked) -> Mapping[str, Any]:
    return request.body


def no_salt(_: int, __: Asked) -> None:
    return None


def by_tenant(_: int, request: Asked) -> str:
    return request.tenant.name


def by_request(number: int, _: Asked) -> str:
    return str(number)


MOVED: Final = partial(shaped_by, PromptShaper(tools=False, volatile=True))
SORTED: Final = partial(shaped_by, PromptShaper())
SHAPED: Final = partial(shaped_by, PromptShaper(volatile=True))
ARMS: Final[dict[str, tuple[Shape, Salt]]] = {
    NAIVE: (as_written, no_salt),
    "time moved to the end": (MOVED, no_salt),
    "tools sorted": (SORTED, no_salt),
    BOTH: (SHAPED, no_salt),
    BY_TENANT: (SHAPED, by_tenant),
    f"{BOTH}, salt per request": (SHAPED, by_request),
}
SHARING: Final[dict[str, tuple[Shape, Salt]]] = {
    SHARED: (SHAPED, no_salt),
    SHARED_SALT: (SHAPED, by_tenant),
}


def served(requests: Sequence[Asked], shape: Shape, salt: Salt) -> Counted:
    cache = BlockCache()
    for number, request in enumerate(requests):
        pieces = tokens(prompt(shape(request)))
        cache.ask(pieces, salt=salt(number, request), owner=request.tenant.name, made=ANSWER)
    return cache.counted


def shapes(requests: int, seeds: int) -> dict[str, list[Counted]]:
    results: dict[str, list[Counted]] = {}
    for seed in range(seeds):
        for make, arms in ((tenants, ARMS), (one_application, SHARING)):
            chance = random.Random(seed)
            coming = asked(make(TENANTS, chance), requests, chance)
            for name, (shape, salt) in arms.items():
                results.setdefault(name, []).append(served(coming, shape, salt))
    return results


def in_turn(number: int, _: Asked, __: Mapping[str, Any]) -> str:
    return REPLICAS[number % len(REPLICAS)]


def by_chance(seed: int) -> Place:
    chance = random.Random(seed)
    return lambda *_: chance.choice(REPLICAS)


def by_prefix(router: PrefixRouter) -> Place:
    def place(number: int, _: Asked, body: Mapping[str, Any]) -> str:
        chosen = router.choose(prefix_key(body), now=number * APART)
        assert chosen is not None
        router.started(chosen)
        router.finished(chosen)
        return chosen

    return place


def by_oracle(coming: Sequence[Asked]) -> Place:
    """The largest tenants first, each to the replica that has least to do."""
    load = dict.fromkeys(REPLICAS, 0)
    home = {}
    for name, count in Counter(request.tenant.name for request in coming).most_common():
        home[name] = min(REPLICAS, key=load.__getitem__)
        load[home[name]] += count
    return lambda _, request, __: home[request.tenant.name]


def routed(coming: Sequence[tuple[Asked, Mapping[str, Any], list[str]]], place: Place) -> Routed:
    caches = {name: BlockCache() for name in REPLICAS}
    for number, (request, body, pieces) in enumerate(coming):
        cache = caches[place(number, request, body)]
        cache.ask(pieces, owner=request.tenant.name, made=ANSWER)
    total = Counted()
    for cache in caches.values():
        total = total.plus(cache.counted)
    fullest = max(cache.counted.requests for cache in caches.values())
    return Routed(total.hit_rate, fullest * len(caches) / total.requests)


def routes(requests: int, seeds: int) -> dict[str, list[Routed]]:
    results: dict[str, list[Routed]] = {}
    skewed = [(rank + 1) ** -SKEW for rank in range(ROUTED)]
    hot = [0.9, *[0.1 / (ROUTED - 1)] * (ROUTED - 1)]
    for seed in range(seeds):
        for weights in (skewed, hot):
            chance = random.Random(seed)
            drawn = asked(tenants(ROUTED, chance), requests, chance, weights=weights)
            coming = [(each, body, tokens(prompt(body))) for each in drawn for body in [SHAPED(each)]]
            places = {
                "in turn": in_turn,
                "by chance": by_chance(seed),
                "rendezvous alone": by_prefix(PrefixRouter(REPLICAS, work_factor=1e9, slack=1e9)),
                PREFIX: by_prefix(PrefixRouter(REPLICAS)),
                ORACLE: by_oracle(drawn),
            }
            if weights is hot:
                places = {HOT: places[PREFIX]}
            for name, place in places.items():
                results.setdefault(name, []).append(routed(coming, place))
    return results


def report(arms: dict[str, list[Counted]], ways: dict[str, list[Routed]]) -> None:
    prefilled = {name: median(each.prefilled for each in seeds) for name, seeds in arms.items()}
    rows = [
        (
            name,
            *(f"{figure(each.hit_rate for each in seeds):.3f}" for figure in (median, min)),
            f"{prefilled[name]:,.0f}",
            f"{prefilled[name] / prefilled[NAIVE]:.2f}",
            f"{max(each.foreign for each in seeds):,}",
        )
        for name, seeds in arms.items()
    ]
    columns = ("", "hit rate", "worst", "prefilled tokens", "x as written", "known from another tenant")
    print_table(f"shaping: medians over {len(arms[NAIVE])} seeds, and the worst", columns, rows)
    lines = [
        (
            name,
            *(f"{figure(each.hit_rate for each in seeds):.3f}" for figure in (median, min)),
            *(f"{figure(each.fullest for each in seeds):.2f}" for figure in (median, max)),
        )
        for name, seeds in ways.items()
    ]
    titles = ("", "hit rate", "worst", "fullest / mean", "worst")
    print_table(f"routing: {ROUTED} tenants, {len(REPLICAS)} replicas", titles, lines)


def judge(arms: dict[str, list[Counted]], ways: dict[str, list[Routed]]) -> None:
    print()
    prefilled = {name: median(each.prefilled for each in seeds) for name, seeds in arms.items()}
    rate = {name: median(each.hit_rate for each in seeds) for name, seeds in arms.items()}
    rate |= {name: median(each.hit_rate for each in seeds) for name, seeds in ways.items()}
    foreign = max(each.foreign for name in (BY_TENANT, SHARED_SALT) for each in arms[name])
    fullest = max(each.fullest for each in ways[PREFIX])
    share = "of prompt tokens"
    verdict("(s)", "as written, tokens known", rate[NAIVE], 0.15, unit=share)
    verdict("(s)", "shaped, tokens prefilled", 1 - rate[BOTH], 0.2, unit=share)
    verdict("(s)", "shaped, tokens prefilled", prefilled[BOTH] / prefilled[NAIVE], 0.25, unit="x as written")
    verdict("(t)", "a salt per tenant costs", rate[BOTH] - rate[BY_TENANT], 0.01, unit=share)
    verdict("(t)", "with it, tokens known from another tenant", foreign, 0, unit="tokens")
    verdict("(u)", "routed, tokens prefilled", 1 - rate[PREFIX], 0.3, unit=share)
    verdict("(u)", "routed, hits short of the oracle's", 1 - rate[PREFIX] / rate[ORACLE], 0.1, unit="of them")
    verdict("(u)", "routed, fullest replica, worst seed", fullest, 1.25, unit="means")


def main() -> None:
    given = options(__doc__, requests=REQUESTS, rounds=12)
    arms = shapes(given.requests, given.rounds)
    ways = routes(given.requests * 5 // 3, given.rounds)
    report(arms, ways)
    if given.requests < REQUESTS:
        print(f"\nnot judged: with fewer than {REQUESTS} requests most tenants have not come twice")
    else:
        judge(arms, ways)
    if given.save:
        kept = {name: [asdict(each) for each in seeds] for name, seeds in arms.items()}
        kept |= {name: [asdict(each) for each in seeds] for name, seeds in ways.items()}
        found = {"python": platform.python_version(), "block": BLOCK, "blocks": BLOCKS, "seeds": given.rounds}
        save(__file__, found, {"requests": given.requests, "by_seed": kept})


if __name__ == "__main__":
    main()
