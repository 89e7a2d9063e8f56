"""The commonest words of other languages in Latin script, those that are English words as well left out."""

# ruff: noqa: E501, RUF001, SIM905 - lists of words, some of them Turkish

from __future__ import annotations

from typing import Final

__all__ = ["ANYWHERE", "ELSEWHERE"]

_WORDS: Final = """
    der das und ist nicht ein eine einen einem einer eines wie ich sie wir ihr zu mit für von auf wird
    werden kann
    können muss soll sind hat habe haben bei nach über aus wenn oder aber auch nur noch sehr warum wann
    wo wer welche
    welcher welches mein meine meinen mich mir dich dein deine ihre uns zum zur vom im es gibt viel
    viele ohne kein keine
    le la les des du une un et est pas que qui quoi quel quelle quels quelles dans avec sur sans mon ma
    mes ton votre vos
    nous vous je tu il elle ils elles ce cette ces sont peut puis dois faut fait faire comment pourquoi
    où quand combien
    au aux ou mais plus très être avoir ai ne se son sa leur
    el los las una unos y es qué cómo dónde cuándo cuál cuáles quién porque por para con sin del al mi
    mis su sus tu
    puedo puede hay tengo está están ser muy más pero como cuanto cuánto cuántos cuánta hacer debo desde
    hasta que
    il lo gli uno di da in con su per tra fra che chi cosa come quando dove perché quale quali quanto
    quanti sono è
    posso può devo fare mio mia miei nel nella nello della dello delle degli dei del alla ai non si più ho hai
    o os uma uns umas do da dos das em no na nos nas com sem pelo pela ao à é são não como onde quando
    qual quais quem
    posso pode preciso fazer meu minha meus minhas mais muito está porque quanto quantos
    het een de en van ik je jij hij zij wij jullie niet wat hoe waar wanneer waarom welke wie kan kunnen
    moet mijn
    naar op te met voor aan bij uit zonder geen ook maar nog wordt worden zijn heb heeft hebben dit dat
    deze die er
    nie jest jak czy się na z w do od po za przez dla co kto gdzie kiedy dlaczego który która które ile
    mogę można
    muszę mam mój moja moje są być bez lub oraz ale tylko już bardzo jaki jaka jakie
    bir ve bu şu ne nasıl nerede neden niçin kim hangi kaç için ile mi mı mu mü değil var yok olarak
    daha çok gibi kadar
    benim bana sana ama veya en nedir mıyım miyim yapabilirim
    och är det att inte som hur var när varför vad vilken jag du han hon vi ni med på av till från utan
    kan ska måste
    og er ikke hvordan hvor hvornår hvorfor hvad hvilken jeg der til fra uden skal hva hvilke ja
    on ei ole mitä miten missä milloin miksi kuka mikä se että minun voinko kuinka
    yang dan di ke dari ini itu dengan untuk tidak apa bagaimana berapa kapan siapa saya anda adalah bisa
    este şi și nu cum unde când cât de ce care pentru cu din pot sunt
    je se na co jak kde kdy proč kolik není jsem mohu být nebo který
"""
ANYWHERE: Final = frozenset(
    """
    in on do no me a o y w z to he she we i at as so an am is was die den man her more come comment pour
    son ton con per
    plus fait hat mine die are sin due pot fare via van mi ha ai mu ma pa kan tu mon sur es de el la le
    los las san del di
    da do dos en er et al un se te os ne ni han var sa du il ole on not que na vi ska ja mit mess fra
    sur ou nos ke com
    """.split()
)
"""Also English words, letters, or what stands in English names (Los Angeles, Rio de Janeiro): they say nothing."""

ELSEWHERE: Final = frozenset(_WORDS.split()) - ANYWHERE
