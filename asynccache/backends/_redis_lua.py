"""What the scripts that Redis runs have in common, in Lua.

Every script is given the name of its shard's sequence as its key, and by argument: a nonce, which it hands
back so that a reply can be told from another's, and the shard's base, from which it makes all other names;
they lie in the same slot. ``now`` is the caller's clock, which entries expire by.

Every change of a shard has a number: the one before plus one, so that whoever follows the feed sees what
has been trimmed or lost. A shard begins with the time in microseconds, which no earlier one can have reached.

What an entry is listed by (its tags, and partition and space of its vector) is kept apart from it as well:
the server may let go of an entry by itself, when it expires or memory is short, and whatever lists it must
then be found. Everyone who stores something looks after a few others.

An invalidation leaves a mark, by which an answer asked for before it is kept out. Marks older than ``floor``
are forgotten. A position is the number of the last change and the nonce of who made it: on a server that has
taken another's place and missed the last changes, the number may be another change's.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

__all__ = ["ANNOUNCE", "BASE", "CHANGING", "FEED_LENGTH", "PIECE", "ROW", "WHEN_FULL", "Script"]

FEED_LENGTH: Final = 100_000
"""Changes told by all shards together."""
PIECE: Final = 200
"""Entries deleted by one script, which says so itself."""
MARKS_KEPT: Final = 100_000
"""Invalidations remembered by a shard."""


class Script:
    """A script and the name Redis knows it by."""

    __slots__ = ("sha", "text")

    def __init__(self, *parts: str) -> None:
        self.text: Final = "\n".join(parts).encode()
        self.sha: Final = sha1(self.text, usedforsecurity=False).hexdigest().encode()


WHEN_FULL: Final = "#!lua flags=allow-oom"
"""First part of a script that must run on a server whose memory is full: it frees more than it takes."""

BASE: Final = """
local sequence, nonce, base = KEYS[1], ARGV[1], ARGV[2]
local entries, index, feed, marks = base .. 'e:', base .. 'keys', base .. 'feed', base .. 'marks'

local function begin(least)
  local time = redis.call('TIME')
  local number = time[1] * 1000000 + time[2]
  local told = redis.pcall('XREVRANGE', feed, '+', '-', 'COUNT', 1)
  if told[1] then
    local last = tonumber(string.match(told[1][1], '^%d+'))
    if number <= last then number = last + 1 end
  end
  if number <= least then number = least + 1 end
  local text = string.format('%.0f', number)
  redis.call('SET', sequence, text .. ':' .. nonce)
  redis.call('XADD', feed, text .. '-0', 'k', '', 'g', '', 't', '0', 'n', nonce)
  return number
end

local function last_number()
  local number = tonumber(string.match(redis.call('GET', sequence) or '', '^%d+') or '0')
  if number < 1e12 then number = begin(number) end
  return number
end

local function position()
  last_number()
  return redis.call('GET', sequence)
end

local function floor_of_marks()
  local floor = redis.call('ZSCORE', marks, 'floor')
  if floor then return tonumber(floor) end
  local number = last_number()
  redis.call('ZADD', marks, string.format('%.0f', number), 'floor')
  return number
end

local function voided(since, members)
  local text, known = string.match(since, '^(%d+):?(%d*)$')
  local number = tonumber(text)
  if number < floor_of_marks() or number > last_number() then return true end
  if known ~= '' then
    local told = redis.call('XRANGE', feed, text .. '-0', text .. '-0')
    if not told[1] or told[1][2][8] ~= known then return true end
  end
  for _, member in ipairs(members) do
    local at = redis.call('ZSCORE', marks, member)
    if at and tonumber(at) > number then return true end
  end
  return false
end
"""

CHANGING: Final = f"""
local length, lists, nowhere = ARGV[3], base .. 'lists', string.rep('\\0', 48)

local function tell(key, group)
  local number = last_number() + 1
  local text = string.format('%.0f', number)
  redis.call('SET', sequence, text .. ':' .. nonce)
  local time = redis.call('TIME')
  local at = string.format('%.0f', time[1] * 1000000 + time[2])
  local told = redis.pcall('XADD', feed, 'MAXLEN', '~', length, text .. '-0',
    'k', key, 'g', group, 't', at, 'n', nonce)
  if type(told) == 'table' and told.err then
    redis.call('DEL', feed)
    redis.call('XADD', feed, text .. '-0', 'k', key, 'g', group, 't', at, 'n', nonce)
  end
  return number
end

local function mark(member, number)
  floor_of_marks()
  redis.call('ZADD', marks, string.format('%.0f', number), member)
  if redis.call('ZCARD', marks) > {MARKS_KEPT} then
    local gone = redis.call('ZRANGE', marks, 0, 999, 'WITHSCORES')
    redis.call('ZREMRANGEBYRANK', marks, 0, 999)
    redis.call('ZADD', marks, gone[#gone], 'floor')
  end
end

local function group_of(key)
  local group = string.sub(redis.call('HGET', lists, key) or nowhere, 1, 48)
  return group == nowhere and '' or group
end

local function unlist(key)
  redis.call('ZREM', index, key)
  local listed = redis.call('HGET', lists, key)
  if not listed then return '' end
  redis.call('HDEL', lists, key)
  for at = 49, #listed, 32 do redis.call('ZREM', base .. 't:' .. string.sub(listed, at, at + 31), key) end
  local group = string.sub(listed, 1, 48)
  if group == nowhere then return '' end
  redis.call('ZREM', base .. 'g:' .. group, key)
  if redis.call('EXISTS', base .. 'v:' .. group) == 1 then redis.pcall('VREM', base .. 'v:' .. group, key) end
  if redis.call('EXISTS', base .. 'g:' .. group) == 0 then redis.call('SREM', base .. 'groups', group) end
  return group
end

local function remove(key, now)
  -- Told and marked before anything is gone: a script may be cut short where a slot is being moved.
  mark(key, tell(key, group_of(key)))
  local expires = redis.call('GETRANGE', entries .. key, 16, 23)
  unlist(key)
  if #expires < 8 then return 0 end
  redis.call('UNLINK', entries .. key)
  return struct.unpack('>d', expires) > now and 1 or 0
end

local function tidy(number)
  local gone, keys = 0, redis.call('ZRANDMEMBER', index, number)
  for _, key in ipairs(keys) do
    if redis.call('EXISTS', entries .. key) == 0 then
      tell(key, unlist(key))
      gone = gone + 1
    end
  end
  return gone, #keys
end
"""

ANNOUNCE: Final = """
local function announce(channel, what)
  redis.call('PUBLISH', channel, what)
end
"""

ROW: Final = """
local function row_of(key, group)
  local head = redis.call('GETRANGE', entries .. key, 0, 83)
  if #head < 84 or string.sub(head, 33, 80) ~= group then return nil end
  local size = struct.unpack('>I', string.sub(head, 81, 84))
  return {key, string.sub(head, 17, 24), redis.call('GETRANGE', entries .. key, 84, 83 + size)}
end
"""
