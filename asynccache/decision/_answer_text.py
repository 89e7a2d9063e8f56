"""The text of an answer, without what only decorates it. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["bare", "code_of", "cut", "familiar", "folded", "pieces", "readable", "refuses", "says"]

_FENCE: Final = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$", re.MULTILINE)
_BLOCK: Final = re.compile(r"(?:```|~~~)[\w+-]*[ \t]*\n(.*?)(?:```|~~~|\Z)", re.DOTALL)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_MARKER: Final = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|\d{1,2}[.)][ \t]+)+", re.MULTILINE)
_LINK: Final = re.compile(r"!?\[([^\]\[\n]{0,300})\]\(([^()\s]{1,500})[^()\n]{0,200}\)")
_STRONG: Final = re.compile(r"(?<!\w)(\*{1,3}|_{1,3}|~~)(?=\S)(.{1,100}?)(?<=\S)\1(?!\w)")
_CITATION: Final = re.compile(r"(?<=[\w.,;)])[ ]?\[\d{1,2}\](?!\w)")
_SPACE: Final = re.compile(r"\s+")
_ENDS: Final = re.compile(r"\A[\s\"':;\u00ab\u00bb]+|(?:[\s.,;:?\u2026\u00ab\u00bb]|(?<!\d)[\"'!])+\Z")
"""Not what may belong to a value: -18, .5, O-, 5', 5!."""
_PLAIN: Final = str.maketrans(
    {
        sign: plain
        for signs, plain in (("\u2018\u2019", "'"), ("\u201c\u201d\u201e", '"'), ("\u2013\u2014\u2212", "-"))
        for sign in signs
    }
)

_LEFT_OUT: Final = "\n[...]\n"
_LATIN: Final = "\u024f"
"""The last of its letters."""
_FOREIGN: Final = 0.3
"""Share of other letters up to which a text counts as Latin."""

_UNREADABLE: Final = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u200b-\u200d\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]"
)
"""Pictures and signs without width: many a model refuses a text that holds one."""

_SENTENCE: Final = re.compile(r"(?<=[.!?:;])\s+|\n+")

_REFUSALS: Final = re.compile(
    r"""
      \bi(?:\s+am|'m)?\s+(?:really\s+|truly\s+)?sorry\b[^.]{0,40}\b(?:can(?:'t|not)|unable|not\s+able)
    | \b(?:i|we)\s+(?:
        can(?:'t|not|\s+not) | could(?:n't|\s+not) | won't | will\s+not
        | do(?:n't|\s+not)\s+feel\s+comfortable
        | (?:am|'m)\s+(?:unable|not\s+able)\s+to
      )\s+(?:really\s+|currently\s+)?(?:
        help | assist | answer | provide | do\s+that | discuss | fulfill? | comply | share | respond | support
        | complete | verify | determine | find\s+(?:any\s+)?information
        | give\s+(?:you\s+)?(?:that|this|an\s+answer)
      )
    | \bi'm\s+(?:unable|not\s+able)\s+to\b
    | \b(?:i|we)\s+do(?:n't|\s+not)\s+(?:actually\s+)?know\b
    | \b(?:i|we)\s+(?:do(?:n't|\s+not)\s+have|have\s+no|lack)\s+(?:\w+\s+){0,3}
      (?:information|access|data|details|knowledge|context|answer)\b
    | \bi(?:'m|\s+am)\s+not\s+(?:sure|certain)\b
    | \bas\s+an?\s+(?:ai|artificial|language)\b[^.]{0,60}\b(?:can(?:'t|not)|unable|not\s+able|don't|do\s+not)
    | \b(?:there\s+is\s+|there's\s+)?not\s+enough\s+(?:information|context|data)\b
    | \b(?:cannot|can't|can\s+not)\s+be\s+(?:determined|answered)\b
    | \bno\s+(?:relevant\s+)?(?:information|answer|results?|data)\s+
      (?:is\s+|was\s+|were\s+)?(?:available|found)\b
    | ^(?:n/?a|unknown|null|none|no\s+answer|not\s+(?:available|specified|provided|found|applicable|known))$
    | \bich\s+(?:kann|darf)\b[^.]{0,60}\bnicht\s+(?:helfen|beantworten)\b
    | \bich\s+weiss\s+(?:es\s+)?nicht\b
    | \bje\s+ne\s+(?:peux\s+pas|sais\s+pas)\b
    | \bno\s+(?:puedo\s+ayudar|lo\s+s\u00e9|s\u00e9)\b
    """,
    re.VERBOSE,
)
"""After case folding, which turns the German sharp s into "ss"."""
_REFUSAL_WITHIN: Final = 160
"""Characters from the beginning in which a refusal is looked for: later, an answer only qualifies itself."""
_REFUSAL_LENGTH: Final = 360
"""Characters beyond which a text says more than that it says nothing."""


def says(text: str) -> str:
    """The text as it is compared: NFKC, case folded, without markdown and punctuation at the ends."""
    return folded(bare(text))


def folded(plain: str) -> str:
    """A bare text as ``says`` gives it."""
    said = plain.casefold().rstrip(" .")
    if len(said) > 1 and said[0] == said[-1] and said[0] in "\"'":
        said = said[1:-1]
    return _ENDS.sub("", said)


def bare(text: str) -> str:
    """The text on one line, in its own case: signs of markdown gone, links replaced by label and target."""
    text = unicodedata.normalize("NFKC", text).translate(_PLAIN)
    text = _FENCE.sub(" ", text)
    text = _CITATION.sub("", _LINK.sub(r"\1 \2", text))
    text = _MARKER.sub("", text)
    text = _STRONG.sub(r"\2", text)
    text = _STRONG.sub(r"\2", text)  # bold within italics
    return _SPACE.sub(" ", text.replace("`", " ")).strip()


def cut(text: str, longest: int) -> str:
    """A text of at most ``longest`` characters: of a longer one three quarters head, the rest tail."""
    if len(text) <= longest:
        return text
    tail = longest // 4
    return text[: longest - tail - len(_LEFT_OUT)] + _LEFT_OUT + text[-tail:]


def familiar(said: str) -> bool:
    """Whether a text is mostly in the Latin alphabet, in which words can be told apart and compared."""
    letters = [sign for sign in said if sign.isalpha()]
    return sum(sign > _LATIN for sign in letters) <= _FOREIGN * len(letters)


def code_of(text: str) -> str:
    """The code in a text: fenced blocks, or without any the inline spans; "" when there is none."""
    return "\n".join(_BLOCK.findall(text) or _INLINE.findall(text))


def readable(text: str) -> str:
    """Without the signs that embedding models do not know."""
    return _UNREADABLE.sub(" ", text)


def pieces(text: str, *, size: int, most: int) -> list[str]:
    """A bare text, cut at ends of sentences into at most ``most`` parts of at most ``size`` characters."""
    found: list[str] = []
    part = ""
    for sentence in _SENTENCE.split(text):
        for start in range(0, len(sentence), size):  # a sentence may be longer than a part
            step = sentence[start : start + size]
            if part and len(part) + len(step) + 1 > size:
                found.append(part)
                part = step
            else:
                part = f"{part} {step}" if part else step
            if len(found) >= most:
                return found
    if part.strip():
        found.append(part)
    return found


def refuses(said: str) -> bool:
    """Whether a text, as ``says`` gives it, only says that there is no answer."""
    return len(said) <= _REFUSAL_LENGTH and _REFUSALS.search(said[:_REFUSAL_WITHIN]) is not None
