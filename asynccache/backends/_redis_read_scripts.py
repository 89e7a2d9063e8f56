"""The steps that read a store in Redis; see ``_redis_lua`` for what they have in common."""

from __future__ import annotations

from typing import Final

from asynccache.backends._redis_lua import BASE, ROW, Script

__all__ = ["FEED", "GENERATIONS", "HEADS", "MARKS", "PAGE", "ROWS", "SIZE"]

GENERATIONS: Final = Script(
    BASE,
    """
local generations, now = {}, tonumber(ARGV[3])
for at = 4, #ARGV do
  local head = redis.call('GETRANGE', entries .. ARGV[at], 0, 23)
  local live = #head == 24 and struct.unpack('>d', string.sub(head, 17)) > now
  generations[at - 3] = live and string.sub(head, 1, 16) or ''
end
return {nonce, generations}
""",
)
"""Of keys: their generation; "" for none that is live."""

HEADS: Final = Script(
    BASE,
    """
local heads = {}
for at = 3, #ARGV do heads[at - 2] = redis.call('GETRANGE', entries .. ARGV[at], 16, 63) end
return {nonce, heads}
""",
)
"""Of keys: expires at, created at and partition."""

MARKS: Final = Script(
    BASE,
    """
local members = {ARGV[4]}
for at = 5, #ARGV do members[#members + 1] = 't' .. ARGV[at] end
return {nonce, voided(ARGV[3], members) and 1 or 0}
""",
)
"""Whether a key or one of some tags was invalidated after a number."""

FEED: Final = Script(
    BASE,
    """
local info = redis.pcall('INFO', 'replication')
local lineage = type(info) == 'string' and string.match(info, 'master_replid:(%x+)') or ''
local last = position()
if ARGV[3] == '' then return {nonce, last, lineage, {}} end
local told = redis.call('XRANGE', feed, '(' .. ARGV[3] .. '-0', '+', 'COUNT', ARGV[4])
local changes = {}
for at, each in ipairs(told) do
  local fields = each[2]
  changes[at] = {string.match(each[1], '^%d+'), fields[2], fields[4], fields[6]}
end
return {nonce, last, lineage, changes}
""",
)
"""Number of the last change, the history it belongs to, and changes after a number: number, key, group, time.

The history of a server is another one after it has lost its data, or has taken another's place.
"""

PAGE: Final = Script(
    BASE,
    ROW,
    """
local group, after, most = ARGV[3], ARGV[4], ARGV[5]
local name = base .. 'g:' .. group
local listed = redis.call('ZRANGE', name, '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
local rows = {}
for at = 1, #listed, 2 do
  local row = row_of(listed[at], group)
  if row then rows[#rows + 1] = row else redis.call('ZREM', name, listed[at]) end
end
if #listed > 0 and redis.call('EXISTS', name) == 0 then redis.call('SREM', base .. 'groups', group) end
return {nonce, #listed / 2, listed[#listed] or after, rows}
""",
)
"""Some vectors of a group, from a place on."""

ROWS: Final = Script(
    BASE,
    ROW,
    """
local rows = {}
for at = 3, #ARGV, 2 do rows[#rows + 1] = row_of(ARGV[at], ARGV[at + 1]) or '' end
return {nonce, rows}
""",
)
"""The vectors of keys and groups as they are now; "" for none."""

SIZE: Final = Script(
    BASE,
    """
local now = '(' .. ARGV[3]
local number = redis.call('ZCOUNT', index, now, '+inf')
local keys = redis.call('ZRANGE', index, now, '+inf', 'BYSCORE', 'LIMIT', 0, 500)
if number > 500 then keys = redis.call('ZRANDMEMBER', index, 500) end
local bytes, seen = 0, 0
for _, key in ipairs(keys) do
  local size = redis.call('STRLEN', entries .. key)
  if size > 0 then bytes, seen = bytes + size, seen + 1 end
end
if number <= 500 then number = seen elseif seen > 0 then bytes = math.floor(bytes / seen * number) end
return {nonce, number, bytes}
""",
)
"""Number of live entries and their bytes; those of many are estimated from 500."""
