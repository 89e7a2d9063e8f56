"""Words by what they do in an answer: most in English, a few in German, French and Spanish."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["AGREES", "DENYING", "DISAGREES", "FILLER", "PAIRS", "SPELLINGS"]

_FILLER: Final = """
    a an the this that these those there here it its is are was were be been being am do does did
    done has have had having will would shall should can could may might must of in on at to for
    from by with as into than then so if or and but also too very really just only about around
    roughly approximately i you he she we they me him us them my your his her our their yours who
    whom whose which what when where why how while because since such some any each every all both
    more most much many other another own same well sure please note means mean called known usually
    typically generally often normally simply even still already yet once upon per via let use used
    using make makes made get gets got go goes take takes give gives one ones e.g i.e etc however
    therefore whereas der die das den dem des ein eine einen einem einer eines und oder ist sind war
    im zu zum zur von vom mit für auf sie ihr ihre ihren ihrem es man wird werden kann können auch
    sich dort dabei le la les un une du de et ou est sont il elle ce cette que qui en au aux par
    pour dans sur el los las una unos unas y o son se del al por para con su sus lo
"""
FILLER: Final = frozenset(_FILLER.split())
"""They say nothing by themselves."""

_DENYING: Final = """
    not no never nor neither none nothing nobody nowhere without unable impossible unfortunately
    hardly barely nicht kein keine keinen keinem nie niemals nichts ne pas jamais aucun sin nunca
    nada tampoco
"""
DENYING: Final = frozenset(_DENYING.split())
"""They deny what follows; "n't" has become "not" before."""

SPELLINGS: Final = {
    "e-mail": "email", "kilometer": "kilometre", "meter": "metre", "liter": "litre", "center": "centre",
    "theater": "theatre", "grey": "gray", "okay": "ok", "lets": "let", "per cent": "percent",
    "login": "log", "bought": "buy", "sent": "send", "kept": "keep",
    "paid": "pay", "chosen": "choose", "began": "begin", "won": "win", "written": "write", "wrote": "write",
}  # fmt: skip
"""What is written instead: British and American, regular and irregular forms of one word."""

AGREES: Final = re.compile(
    r"""
    ^(?:
        yes | yeah | yep | yup
        | sure | certainly | absolutely | definitely | of\ course | true | correct
        | right | indeed | affirmative | (?:usually|often)\ yes | in\ moderation
        | ja | jawohl | oui | s\u00ed | si
        | (?:in\ (?:general|most\ cases|moderation|principle)|generally|usually|often|typically),?\ yes
    )\b (?!\s+(?:and|or)\s+no\b)
    """,
    re.VERBOSE,
)
"""How a yes begins."""
DISAGREES: Final = re.compile(
    r"""
    ^(?:
        no(?!\s+(?:matter|idea|problem|worries|doubt|later|more\ than|one|longer))
        | nope | never | nein | non | nee | not\ (?:at\ all|really|necessarily|in\ general|usually|with)
        | usually\ not
        | false | incorrect | wrong | unfortunately,?\ (?:not|no) | (?:i'm|i\ am|we're)\ afraid
        | (?:in\ (?:general|most\ cases|principle)|generally|usually|often|typically),?\ (?:no|not)
        | that(?:'s|\ is)\ (?:a\ myth|not|false|wrong) | it(?:'s|\ is)n't
    )\b
    """,
    re.VERBOSE,
)
"""How a no begins."""

_PAIRS: Final = """
    enable/disable on/off in/out open/close opened/closed lock/unlock block/unblock mute/unmute
    freeze/unfreeze add/remove install/uninstall import/export upload/download start/stop begin/end
    first/last increase/decrease increase/reduce raise/lower rise/fall rose/fell rising/falling
    grew/declined grow/shrink up/down upgrade/downgrade buy/sell lend/borrow send/receive
    accept/decline accept/reject accepted/rejected allow/forbid allowed/forbidden
    permitted/prohibited include/exclude included/excluded before/after above/below over/under
    left/right top/bottom north/south east/west hot/cold warm/cold high/low higher/lower long/short
    longer/shorter large/small larger/smaller largest/smallest biggest/smallest more/less most/least
    maximum/minimum best/worst fast/slow early/late earlier/later cheap/expensive strong/weak
    good/bad good/poor great/poor positive/negative true/false pass/fail success/failure win/lose
    gain/loss profit/loss gross/net ascending/descending encrypt/decrypt encode/decode
    mutable/immutable legal/illegal safe/unsafe safe/toxic safe/dangerous valid/invalid
    possible/impossible mandatory/optional compulsory/optional required/optional public/private
    internal/external inbound/outbound incoming/outgoing arrival/departure day/night am/pm
    daily/weekly weekly/monthly monthly/yearly daily/monthly weekday/weekend deposit/withdraw
    credit/debit male/female dark/light soft/hard wet/dry summer/winter spring/autumn always/never
    everyone/nobody with/without evergreen/deciduous push/pull head/tail horizontal/vertical
    row/column rows/columns input/output read/write client/server supply/demand
"""
PAIRS: Final = tuple((one, other) for one, other in (pair.split("/") for pair in _PAIRS.split()))
"""Words that exclude each other."""
