"""Questions in other languages, each beside one that differs in what is asked. Our own text."""

# ruff: noqa: RUF001 - some of it is Turkish

from __future__ import annotations

from typing import Final

PAIRS: Final = [
    tuple(line.split("|"))
    for line in """
de|Wie kann ich meine Karte sperren?|Wie kann ich meine Karte entsperren?
de|Was kostet ein Flug von Berlin nach Paris?|Was kostet ein Flug von Paris nach Berlin?
de|Wie viele Einwohner hat Hamburg?|Wie viele Einwohner hat Bremen?
de|Darf man mit 16 Auto fahren?|Darf man mit 18 Auto fahren?
de|Warum ist der Himmel blau?|Warum ist der Himmel rot?
fr|Comment puis-je ouvrir un compte ?|Comment puis-je fermer un compte ?
fr|Quelle est la capitale de l'Espagne ?|Quelle est la capitale de l'Italie ?
fr|Combien coûte un billet pour Lyon ?|Combien coûte un billet pour Nice ?
fr|Peut-on vivre sans eau pendant 3 jours ?|Peut-on vivre sans eau pendant 5 jours ?
fr|Pourquoi mon chat ne mange pas ?|Pourquoi mon chat mange ?
es|¿Cómo puedo cancelar mi pedido?|¿Cómo puedo confirmar mi pedido?
es|¿Cuál es la capital de Chile?|¿Cuál es la capital de Cuba?
es|¿Cuánto cuesta enviar 100 euros a Perú?|¿Cuánto cuesta enviar 500 euros a Perú?
es|como llegar de madrid a sevilla|como llegar de sevilla a madrid
es|¿Es bueno comer carne todos los días?|¿Es malo comer carne todos los días?
it|Come posso bloccare la mia carta?|Come posso sbloccare la mia carta?
it|Qual è il fiume più lungo d'Italia?|Qual è il fiume più corto d'Italia?
it|Quanto costa un biglietto per Roma?|Quanto costa un biglietto per Milano?
it|Quando apre il museo?|Quando chiude il museo?
it|quanti anni aveva Dante nel 1300|quanti anni aveva Dante nel 1310
pt|Como posso abrir uma conta?|Como posso fechar uma conta?
pt|Qual é a capital do Brasil?|Qual é a capital do Peru?
pt|Quanto custa um voo de Lisboa para o Porto?|Quanto custa um voo do Porto para Lisboa?
pt|Por que o meu computador está lento?|Por que o meu computador está quente?
pt|quantos dias tem um mês|quantos dias tem um ano
nl|Hoe kan ik mijn wachtwoord wijzigen?|Hoe kan ik mijn wachtwoord verwijderen?
nl|Wat is de hoofdstad van België?|Wat is de hoofdstad van Zweden?
nl|Hoeveel kost een kaartje naar Utrecht?|Hoeveel kost een kaartje naar Rotterdam?
nl|Is melk gezond voor katten?|Is melk ongezond voor katten?
nl|Waarom draait de aarde om de zon?|Waarom draait de maan om de aarde?
pl|Jak mogę zablokować kartę?|Jak mogę odblokować kartę?
pl|Ile kosztuje bilet do Krakowa?|Ile kosztuje bilet do Gdańska?
pl|Czy można pić kawę w ciąży?|Czy można pić herbatę w ciąży?
pl|Kto wygrał wybory w 2015 roku?|Kto wygrał wybory w 2020 roku?
pl|dlaczego niebo jest niebieskie|dlaczego niebo jest czerwone
tr|Hesabımı nasıl açabilirim?|Hesabımı nasıl kapatabilirim?
tr|Ankara'nın nüfusu kaç?|İzmir'in nüfusu kaç?
tr|İstanbul'dan Ankara'ya nasıl gidilir?|Ankara'dan İstanbul'a nasıl gidilir?
tr|Kahve içmek sağlıklı mı?|Çay içmek sağlıklı mı?
tr|bir haftada kaç gün var|bir ayda kaç gün var
ru|Как заблокировать карту?|Как разблокировать карту?
ru|Какая столица Франции?|Какая столица Германии?
ru|Сколько стоит билет в Москву?|Сколько стоит билет в Казань?
ru|Можно ли есть мясо каждый день?|Можно ли есть рыбу каждый день?
ru|Почему небо синее?|Почему небо красное?
zh|如何注销我的账户?|如何注册我的账户?
zh|法国的首都是哪里?|德国的首都是哪里?
zh|从北京到上海怎么走?|从上海到北京怎么走?
zh|100美元等于多少欧元?|200美元等于多少欧元?
zh|为什么天空是蓝色的?|为什么天空是红色的?
ja|カードを停止するにはどうすればいいですか?|カードを再開するにはどうすればいいですか?
ja|フランスの首都はどこですか?|ドイツの首都はどこですか?
ja|東京から大阪までいくらですか?|大阪から東京までいくらですか?
ja|猫は牛乳を飲めますか?|犬は牛乳を飲めますか?
ja|一週間は何日ですか?|一ヶ月は何日ですか?
ar|كيف يمكنني فتح حساب؟|كيف يمكنني إغلاق حساب؟
ar|ما هي عاصمة فرنسا؟|ما هي عاصمة ألمانيا؟
ar|كم سعر التذكرة إلى القاهرة؟|كم سعر التذكرة إلى بيروت؟
ar|هل القهوة مفيدة؟|هل القهوة ضارة؟
ar|لماذا السماء زرقاء؟|لماذا السماء حمراء؟
""".strip().splitlines()
]
"""Language, question, another question."""

NAMES: Final = """
What does Schadenfreude mean in English?|What is the meaning of Schadenfreude in English?
Who is Jürgen Klopp?|Who's Jürgen Klopp?
How do I make crème brûlée at home?|How can I make crème brûlée at home?
How do I get from Gare du Nord to Charles de Gaulle?|How can I get from Gare du Nord to Charles de Gaulle?
Is São Paulo safe for tourists?|Is São Paulo a safe city for tourists?
What is the best time to visit Zürich?|When is the best time to visit Zürich?
""".strip().splitlines()
"""English questions with foreign names: these are to be read."""
