"""The books of prompt tokens; no loop, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from asynccache.upstreams._vllm_usage import PrefixLedger, TenantTokens, Usage, tenant_mark, usage_of

RECORDED = [
    ("chat_basic", True),
    ("chat_nodetails", False),
    ("json_schema", True),
    ("tool_named", True),
]


@dataclass
class Stats:
    requests: int


@pytest.mark.parametrize(("name", "known"), RECORDED)
def test_usage_of_the_recordings(name: str, known: bool, wire: Any) -> None:
    _, body = wire.recording(name)
    usage = usage_of(body)
    expected = orjson.loads(body)["usage"]
    assert usage.prompt_tokens == expected["prompt_tokens"]
    assert (usage.cached_tokens is not None) is known
    if known:
        assert usage.cached_tokens == expected["prompt_tokens_details"]["cached_tokens"]


def test_missing_details_are_unknown_and_not_zero() -> None:
    body = orjson.dumps({"usage": {"prompt_tokens": 9, "prompt_tokens_details": None}})
    assert usage_of(body) == Usage(9, None, None)


def test_usage_of_responses_is_read_from_its_document_and_its_last_event() -> None:
    usage = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 8}}
    assert usage_of(orjson.dumps({"usage": usage})) == Usage(9, 8)
    assert usage_of(orjson.dumps({"type": "response.completed", "response": {"usage": usage}})) == Usage(9, 8)


def test_usage_of_messages_is_put_together_from_its_parts() -> None:
    usage = {"input_tokens": 9, "cache_read_input_tokens": 32, "cache_creation_input_tokens": 64}
    assert usage_of(orjson.dumps({"type": "message_delta", "usage": usage})) == Usage(105, 32, 64)
    assert usage_of(orjson.dumps({"message": {"usage": {"input_tokens": 9}}})) == Usage(9, None)


@pytest.mark.parametrize(
    "document",
    [
        None,
        b"",
        b"nonsense",
        b"[]",
        b"7",
        b'{"usage":7}',
        b'{"usage":{"prompt_tokens":true}}',
        b'{"usage":[]}',
    ],
)
def test_whatever_comes_is_unknown_at_worst(document: bytes | None) -> None:
    assert usage_of(document) == Usage()


def test_report_adds_up_by_tenant_and_names_none() -> None:
    ledger = PrefixLedger()
    ledger.note("acme", Usage(100, 60))
    ledger.note("acme", Usage(100, None))
    ledger.note(None, Usage(50, 0))
    report = ledger.report()
    assert report.total == TenantTokens(requests=3, unknown=1, prompt_tokens=150, cached_tokens=60)
    assert report.total.prefilled_tokens == 90
    assert report.hit_ratio == 0.4
    assert dict(report.tenants) == {
        tenant_mark("acme"): TenantTokens(2, 1, 100, 60),
        tenant_mark(None): TenantTokens(1, 0, 50, 0),
    }
    assert "acme" not in repr(report)
    assert len(tenant_mark("acme")) == 8


def test_report_does_not_change_afterwards() -> None:
    ledger = PrefixLedger()
    ledger.note("a", Usage(10, 5))
    report = ledger.report()
    ledger.note("a", Usage(10, 5))
    assert report.total.requests == 1


def test_many_tenants_are_added_up_in_one_line() -> None:
    ledger = PrefixLedger(most_tenants=3)
    for number in range(10):
        ledger.note(f"tenant {number}", Usage(10, 4))
    report = ledger.report()
    assert len(report.tenants) == 4
    assert report.tenants["others"] == TenantTokens(7, 0, 70, 28)
    assert report.total == TenantTokens(10, 0, 100, 40)


def test_tenant_seen_least_recently_is_the_one_added_to_the_others() -> None:
    ledger = PrefixLedger(most_tenants=2)
    for tenant in ("a", "b", "a", "c"):
        ledger.note(tenant, Usage(10, 4))
    assert set(ledger.report().tenants) == {tenant_mark("a"), tenant_mark("c"), "others"}


def test_more_cached_than_there_was_is_all_there_was() -> None:
    assert TenantTokens().plus(Usage(10, 12)).prefilled_tokens == 0


def test_prefilled_per_request_counts_both_caches_and_the_prewarming() -> None:
    ledger = PrefixLedger()
    ledger.note("a", Usage(100, 60))
    ledger.note("a", Usage(100, 20))
    report = ledger.report()
    assert report.prefilled_per_request(Stats(2)) == 60.0
    assert report.prefilled_per_request(Stats(8)) == 15.0  # six were hits of the response cache
    ledger.note_prewarmed(Usage(40, 0))
    assert ledger.report().prefilled_per_request(Stats(8)) == 20.0
    assert ledger.report().total.requests == 2


def test_prefilled_per_request_takes_the_unknown_to_be_like_the_others() -> None:
    ledger = PrefixLedger()
    ledger.note("a", Usage(100, 60))
    ledger.note("a", Usage())
    assert ledger.report().prefilled_per_request(Stats(4)) == 20.0


def test_prefilled_per_request_is_unknown_when_nobody_said() -> None:
    ledger = PrefixLedger()
    assert ledger.report().prefilled_per_request(Stats(0)) is None
    assert ledger.report().prefilled_per_request(Stats(3)) == 0.0  # hits only
    ledger.note("a", Usage(100, None))
    assert ledger.report().prefilled_per_request(Stats(1)) is None
    assert ledger.report().hit_ratio is None
