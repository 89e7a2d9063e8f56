"""No single asker moves what holds for everybody."""

from __future__ import annotations

from asynccache import Scope
from asynccache.decision._fairness import FEW, SHARE, Fairness


def test_a_user_counts_for_a_few_and_then_for_a_share() -> None:
    fair = Fairness()
    loud = Scope(tenant="t", user="loud")
    assert sum(fair.allows(loud) for _ in range(900)) == FEW
    quiet = [Scope(tenant="t", user=f"user {number}") for number in range(90)]
    assert all(fair.allows(each) for each in quiet)


def test_counting_begins_anew() -> None:
    fair = Fairness()
    loud = Scope(user="loud")
    allowed = sum(fair.allows(loud) for _ in range(10_000))
    assert 9 * FEW <= allowed <= 2 * SHARE * 10_000


def test_users_without_a_name_and_those_of_other_tenants_are_not_taken_for_one() -> None:
    fair = Fairness()
    assert all(fair.allows(Scope(tenant="t")) for _ in range(500))
    assert all(fair.allows(Scope(tenant=f"tenant {number}", user="admin")) for number in range(400))
