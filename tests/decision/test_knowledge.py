"""Labels become lessons, each for the score it was made with; what was rejected stays so."""

from __future__ import annotations

import pytest

from asynccache.decision.knowledge import FAILURES, Knowledge
from asynccache.decision.promise import Prior
from asynccache.testing import make_label

PRIOR = Prior(1.5, 1.5, 200.0)
VERSION, OTHER = bytes(16), bytes([7]) * 16


def test_scores_of_another_version_teach_nothing_to_this_one() -> None:
    knowledge = Knowledge(PRIOR)
    knowledge.take(make_label(2, at=0, version=OTHER, same=False, score=2.0))
    key = make_label(2, at=0).key
    assert knowledge.lessons(OTHER).known([key]).pull[0] < -0.5
    assert knowledge.lessons(VERSION).known([key]).pull[0] == 0
    assert (knowledge.lessons(OTHER).labels, knowledge.lessons(VERSION).labels) == (1, 0)


def test_a_label_is_about_both_questions() -> None:
    knowledge = Knowledge(PRIOR)
    label = make_label(2, at=0, version=VERSION, same=True, score=-1.0)
    knowledge.take(label)
    pull, information, _ = knowledge.lessons(VERSION).known([label.key, label.asked])
    assert (pull > 0.5).all()
    assert (information > 0.1).all()


def alike(knowledge: Knowledge, *keys: bytes) -> bool:
    return len(set(knowledge.lessons(VERSION).known(keys).groups.tolist())) == 1


def test_questions_share_an_answer_until_a_label_says_that_they_do_not() -> None:
    knowledge = Knowledge(PRIOR)
    label = make_label(2, at=0, version=VERSION, same=True, score=1.0)
    assert not alike(knowledge, label.key, label.asked)
    knowledge.take(label)
    assert alike(knowledge, label.key, label.asked)
    knowledge.take(label._replace(same=False, kind="reject"))
    assert not alike(knowledge, label.key, label.asked)


def test_nobody_joins_a_group_on_the_word_of_a_judge_who_is_likelier_wrong() -> None:
    knowledge = Knowledge(PRIOR)
    label = make_label(2, at=0, version=VERSION, same=True, score=-4.0)
    knowledge.take(label._replace(accepted=0.05))  # odds of 1 to 55, times 20
    assert not alike(knowledge, label.key, label.asked)


def test_a_label_that_says_no_more_than_a_coin_moves_nobody() -> None:
    knowledge = Knowledge(PRIOR)
    label = make_label(2, at=0, version=VERSION, same=True, score=3.0)
    knowledge.take(label._replace(missed=0.5, accepted=0.5))
    assert not alike(knowledge, label.key, label.asked)
    knowledge.take(label)
    knowledge.take(label._replace(same=False, missed=0.5, accepted=0.5))
    assert alike(knowledge, label.key, label.asked)


def test_a_judge_that_errs_is_believed_less() -> None:
    pulls = []
    for missed, accepted in ((0.0, 0.0), (0.2, 0.2), (0.5, 0.5)):
        knowledge = Knowledge(PRIOR)
        label = make_label(2, at=0, version=VERSION, same=True, score=-2.0)
        knowledge.take(label._replace(missed=missed, accepted=accepted))
        pulls.append(float(knowledge.lessons(VERSION).known([label.key]).pull[0]))
    assert pulls == sorted(pulls, reverse=True)
    assert pulls[0] == pytest.approx(0.93 - 0.12, abs=0.02)  # odds of 1 to 7.4, times 99
    assert pulls[1] == pytest.approx(0.35 - 0.12, abs=0.02)  # times 4
    assert pulls[2] == pytest.approx(0, abs=0.02)


def test_versions_without_end_do_not_fill_the_memory() -> None:
    knowledge = Knowledge(PRIOR)
    for number in range(20):
        knowledge.take(make_label(1, at=0, version=bytes([number]) * 16))
    assert len(knowledge._lessons) == 4


def test_what_a_caller_rejects_is_rejected_until_it_is_accepted() -> None:
    rejections = Knowledge(PRIOR).rejections
    label = make_label(1, at=0, same=False, kind="reject")
    rejections.take(label)
    assert rejections.holds(label.asked, label.key)
    assert not rejections.holds(label.key, label.asked)
    assert not rejections.holds(make_label(2, at=0).asked, label.key)
    rejections.take(label._replace(same=True, kind="accept"))
    assert not rejections.holds(label.asked, label.key)


def test_an_answer_found_wrong_twice_is_served_to_its_own_question_alone() -> None:
    rejections = Knowledge(PRIOR).rejections
    label = make_label(1, at=0, same=False, kind="audit")
    for number in range(FAILURES):
        assert not rejections.quarantined(label.key)
        rejections.take(label._replace(asked=bytes([number]) * 32))
    assert rejections.quarantined(label.key)
    rejections.take(label._replace(asked=bytes([9]) * 32, same=True, kind="accept"))
    assert rejections.quarantined(label.key)  # that says nothing of the others
    rejections.take(label._replace(asked=bytes([0]) * 32, same=True, kind="accept"))
    assert not rejections.quarantined(label.key)


def test_the_same_question_rejected_twice_quarantines_nobody() -> None:
    rejections = Knowledge(PRIOR).rejections
    for _ in range(5):
        rejections.take(make_label(1, at=0, same=False, kind="reject"))
    assert not rejections.quarantined(make_label(1, at=0).key)


def test_misses_quarantine_nobody() -> None:
    rejections = Knowledge(PRIOR).rejections
    for _ in range(5):
        rejections.take(make_label(1, at=0, same=False, kind="miss"))
    assert not rejections.quarantined(make_label(1, at=0).key)
