"""The steps that change a store in Redis; see ``_redis_lua`` for what they have in common."""

from __future__ import annotations

from typing import Final

from asynccache.backends._redis_lua import ANNOUNCE, BASE, CHANGING, WHEN_FULL, Script

__all__ = ["CLEAR", "FILL", "LABELS", "OPEN", "REMOVE", "TAGGED", "TIDY"]

OPEN: Final = Script(BASE, "floor_of_marks() return {nonce, position()}")
"""The position. A shard that is new begins."""

FILL: Final = Script(
    BASE,
    CHANGING,
    ANNOUNCE,
    """
local channel, now, mode, since, lifetime, key, rest, expires, group, vector =
  ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local members = {key}
for at = 14, #ARGV do members[#members + 1] = 't' .. ARGV[at] end
if since ~= '' and voided(since, members) then return {nonce, '', 'voided', position()} end
local held = redis.call('GETRANGE', entries .. key, 16, 23)
if mode == 'add' and #held == 8 and struct.unpack('>d', held) > tonumber(now) then
  return {nonce, '', 'there'}
end
local before = group_of(key)
if before ~= '' and before ~= group then tell(key, before) end
-- The first change of all: a server without memory refuses it, where it would allow what unlists.
local number = tell(key, group)
unlist(key)
local text = string.format('%.0f', number)
local value = string.format('%016.0f', number) .. rest
if lifetime == '' then
  redis.call('SET', entries .. key, value)
else
  redis.call('SET', entries .. key, value, 'PX', lifetime)
end
redis.call('ZADD', index, expires, key)
for at = 14, #ARGV do redis.call('ZADD', base .. 't:' .. ARGV[at], expires, key) end
if group ~= '' then
  redis.call('ZADD', base .. 'g:' .. group, text, key)
  redis.call('SADD', base .. 'groups', group)
end
if group ~= '' or #ARGV > 13 then
  redis.call('HSET', lists, key, (group ~= '' and group or nowhere) .. table.concat(ARGV, '', 14))
end
if vector ~= '' then
  local until_when = expires == 'inf' and '1e300' or expires
  local set = base .. 'v:' .. group
  redis.pcall('VADD', set, 'FP32', vector, key, 'SETATTR', '{"exp":' .. until_when .. '}')
end
tidy(3)
announce(channel, '')
return {nonce, text, ''}
""",
)
"""Store an entry, unless voided, or there already; its number, or why not."""

REMOVE: Final = Script(
    WHEN_FULL,
    BASE,
    CHANGING,
    ANNOUNCE,
    """
local channel, now, generation = ARGV[4], tonumber(ARGV[5]), ARGV[6]
local removed = 0
if generation ~= '' and redis.call('GETRANGE', entries .. ARGV[7], 0, 15) ~= generation then
  return {nonce, 0, ''}
end
for at = 7, #ARGV do
  removed = removed + remove(ARGV[at], now)
end
announce(channel, '')
return {nonce, removed, position()}
""",
)
"""Remove keys, or one if its generation is still this; live entries removed, and the position."""

TAGGED: Final = Script(
    WHEN_FULL,
    BASE,
    CHANGING,
    ANNOUNCE,
    """
local channel, now, tag, first = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
if first ~= '' then mark('t' .. tag, tell('', 'all')) end
local set = base .. 't:' .. tag
local keys = redis.call('ZRANGE', set, 0, 199)
local removed = 0
for _, key in ipairs(keys) do
  removed = removed + remove(key, now)
  redis.call('ZREM', set, key)
end
if #keys > 0 then announce(channel, '') end
return {nonce, removed, position(), #keys}
""",
)
"""Remove some of the entries with a tag; live ones, the position, and how many in all."""

CLEAR: Final = Script(
    WHEN_FULL,
    BASE,
    CHANGING,
    ANNOUNCE,
    """
local channel, now, first = ARGV[4], tonumber(ARGV[5]), ARGV[6]
if first ~= '' then
  local number = tell('', 'all')
  redis.call('DEL', marks, base .. 'labels', base .. 'lasting')
  redis.call('ZADD', marks, string.format('%.0f', number), 'floor')
end
local keys = redis.call('ZRANGE', index, 0, 199)
local removed = 0
for _, key in ipairs(keys) do
  removed = removed + remove(key, now)
end
if #keys > 0 then announce(channel, '') end
return {nonce, removed, position(), #keys}
""",
)
"""Remove some of all entries, and first the labels; as ``TAGGED``."""

LABELS: Final = Script(
    BASE,
    """
local time = redis.call('TIME')
local number = time[1] * 1000000 + time[2]
for _, kind in ipairs({'labels', 'lasting'}) do
  local told = redis.call('XREVRANGE', base .. kind, '+', '-', 'COUNT', 1)
  if told[1] then number = math.max(number, tonumber(string.match(told[1][1], '^%d+')) + 1) end
end
for at = 4, #ARGV, 2 do
  local id = string.format('%.0f-0', number)
  redis.call('XADD', base .. ARGV[at], 'MAXLEN', '~', ARGV[3], id, 'v', ARGV[at + 1])
  number = number + 1
end
return {nonce}
""",
)
"""Keep labels, each after the name of its stream; they are numbered across both, by the time at least."""

TIDY: Final = Script(
    WHEN_FULL,
    BASE,
    CHANGING,
    """
local gone, seen = tidy(ARGV[4])
return {nonce, gone, seen}
""",
)
"""Look after some entries: how many of them the server has let go of, and how many were looked at."""
