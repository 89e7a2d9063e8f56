from __future__ import annotations

import pytest

from asynccache.decision import foreign, prepare


@pytest.mark.parametrize(
    "question",
    [
        "Wie kann ich meine Karte sperren?",
        "Comment puis-je ouvrir un compte ?",
        "¿Cuál es la capital de Chile?",
        "Quanto costa un biglietto per Roma?",
        "Qual é a capital do Brasil?",
        "Wat is de hoofdstad van Zweden?",
        "Jak mogę zablokować kartę?",
        "Kahve içmek sağlıklı mı?",  # noqa: RUF001 - Turkish
        "Как заблокировать карту?",
        "法国的首都是哪里?",
        "カードを停止するにはどうすればいいですか?",
        "كيف يمكنني فتح حساب؟",
    ],
)
def test_question_in_another_language_is_foreign(question: str) -> None:
    assert foreign(prepare(question))


@pytest.mark.parametrize(
    "question",
    [
        "What does Schadenfreude mean in English?",
        "Who is Jürgen Klopp?",
        "How do I get from Gare du Nord to Charles de Gaulle?",
        "Is São Paulo safe for tourists?",
        "Is Los Angeles bigger than San Francisco?",
        "play some jazz",
        "reset password",
        "2 + 2",
        "",
    ],
)
def test_english_question_with_foreign_names_is_not(question: str) -> None:
    assert not foreign(prepare(question))
