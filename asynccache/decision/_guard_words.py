"""Words whose exchange changes what is asked: numbers, dates, opposites. All in lower case."""

from __future__ import annotations

from typing import Final

__all__ = ["DAYS", "MONTHS", "NEGATORS", "NUMBERS", "POLES", "SCALES", "STRICT", "listed"]


def listed(words: str) -> list[str]:
    """The words of a text."""
    return words.split()


_CARDINALS: Final = listed("""
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
""")
_ORDINALS: Final = listed("""
    zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth
    fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth
""")
_TENS: Final = listed("twenty thirty forty fifty sixty seventy eighty ninety")
NUMBERS: Final = {
    **{word: value for value, word in enumerate(_CARDINALS)},
    **{word: value for value, word in enumerate(_ORDINALS)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
    **{f"{word[:-1]}ieth": 10 * value for value, word in enumerate(_TENS, 2)},
    "fourty": 40,
}
SCALES: Final = {
    "hundred": 100,
    "hundredth": 100,
    "thousand": 1000,
    "thousandth": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "mn": 10**6,
    "bn": 10**9,
    "lakh": 10**5,
    "lakhs": 10**5,
    "crore": 10**7,
    "crores": 10**7,
    "dozen": 12,
    "k": 1000,
}

_MONTHS: Final = listed("""
    january february march april may june july august september october november december
""")
MONTHS: Final = {
    **{word: number for number, word in enumerate(_MONTHS, 1)},
    **{word[:3]: number for number, word in enumerate(_MONTHS, 1)},
    "sept": 9,
}
_DAYS: Final = listed("monday tuesday wednesday thursday friday saturday sunday")
DAYS: Final = {
    **{word: word for word in _DAYS},
    **{f"{word}s": word for word in _DAYS},
    **{word: word for word in ("today", "tomorrow", "yesterday", "tonight", "weekend", "weekends")},
    "tue": "tuesday", "tues": "tuesday", "wed": "wednesday", "thu": "thursday", "thurs": "thursday",
    "fri": "friday",
}  # fmt: skip

NEGATORS: Final = frozenset(
    listed("""
    not no never none nobody nothing nowhere neither nor cannot without unable hardly barely scarcely
    non lack lacks lacking lacked sans dont doesnt didnt isnt arent wasnt werent wont cant couldnt
    shouldnt wouldnt hasnt havent hadnt aint w/o
""")
)

STRICT: Final = {
    word: name
    for name, words in {
        "before": "before prior until till",
        "after": "after since afterwards",
        "except": "except excluding exclude unless apart",
        "only": "only solely exclusively",
        "avoid": "avoid avoiding prevent preventing",
        "at least": "least minimum",
        "at most": "maximum max",
        "always": "always",
        "instead": "instead",
        "again": "again",
    }.items()
    for word in words.split()
}
"""Words that count on one side alone: most questions mean another thing without them."""

_OPPOSITES: Final = """
    enable activate | disable deactivate
    increase raise grow gain boost | decrease reduce lower shrink lose cut
    more higher greater | less fewer
    most highest | fewest lowest
    best better good | worst worse bad
    open | close shut
    start begin | stop end finish quit
    buy purchase | sell
    import | export
    upload | download
    push | pull
    add insert append | remove delete drop
    attach mount | detach unmount
    connect join | leave
    left | right
    top | bottom
    inside in | outside out
    above over | below under beneath
    up | down
    on | off
    first | last
    next | previous
    north northern | south southern
    east eastern | west western
    positive | negative
    true | false
    same similar | different
    win | lost
    send sender | receive recipient receiver
    lend lender | borrow borrower
    deposit | withdraw withdrawal
    credit | debit
    encode | decode
    encrypt | decrypt
    male man men boy husband father son brother | female woman women girl wife mother daughter sister
    public | private
    allow permit grant accept approve | deny forbid block reject decline ban
    include | omit
    ascending | descending
    horizontal row | vertical column
    input | output
    read | write
    arrive arrival | depart departure
    teach | learn
    ask | answer
    love | hate
    pro pros advantage benefit strength | con cons disadvantage drawback weakness
    safe | dangerous unsafe
    cheap cheapest | expensive
    easy easiest simple | hard difficult
    early earliest | late latest
    old oldest older | new newest newer
    big large largest biggest | small smallest little
    fast quick fastest | slow slowest
    hot warm heat | cold cool
    tall tallest long longest | short shortest
    rich | poor
    strong | weak
    full | empty
    wide | narrow
    deep | shallow
    light | heavy
    dark | bright
    wet | dry
    alive born birth | dead die death
    freeze | melt thaw
    summer | winter
    buyer | seller
    landlord | tenant
    employer | employee
    client frontend | server backend
    local | remote
    static | dynamic
    even | odd
    singular | plural
    profit | loss
    all every each entire whole | some any several part
    both | either
    always constantly | sometimes occasionally
    mandatory required compulsory | optional voluntary
    morning sunrise | evening sunset
    ancient | modern
    beginner beginners novice | advanced expert experts
    junior | senior
    major | minor
    upper | lower
    front | back rear
    near nearest closest | far farthest furthest
    present | absent
    entry entrance | exit
    supply | demand
    liquid | solid
    single | multiple
    online | offline
    show reveal | hide conceal
    expand | collapse
    save keep | discard
    merge combine | split separate
    asset assets | liability liabilities
    bull bullish | bear bearish
    gross | net
    hire | fire
    marry marriage wedding | divorce
    succeed success pass work | fail failure
    internal domestic | external foreign
    uppercase | lowercase
    login logon | logout logoff
    synchronous sync | asynchronous async
    """

_AXES: Final = [line.split("|") for line in _OPPOSITES.strip().splitlines()]
POLES: Final = {
    word: (number, sign)
    for number, sides in enumerate(_AXES)
    for sign, side in enumerate(sides)
    for word in side.split()
}
"""Each word with the number of its axis and the end of it."""
