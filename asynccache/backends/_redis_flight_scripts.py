"""The steps by which processes share a flight; see ``_redis_lua`` for what they have in common."""

from __future__ import annotations

from typing import Final

from asynccache.backends._redis_lua import ANNOUNCE, BASE, CHANGING, Script

__all__ = ["APPEND", "BOARD", "LOG", "RENEW"]

FLIGHT: Final = """
local flight = ARGV[5]
local lead, alone = base .. 'f:' .. flight, base .. 'a:' .. flight
local function log_of(number) return base .. 'l:' .. flight .. number end
local function is_over(number)
  local last = redis.call('XREVRANGE', log_of(number), '+', '-', 'COUNT', 1)
  return last[1] ~= nil and last[1][2][1] == 'e'
end
"""

BOARD: Final = Script(
    BASE,
    CHANGING,
    FLIGHT,
    """
if redis.call('EXISTS', alone) == 1 then return {nonce, '0', 0, 1} end
local members = {ARGV[7]}
for at = 8, #ARGV do members[#members + 1] = 't' .. ARGV[at] end
local held = redis.call('GET', lead)
if held and not voided(held, members) then return {nonce, held, 0, 0} end
floor_of_marks()
local text = string.format('%.0f', tell('', ''))
redis.call('SET', lead, text, 'PX', ARGV[6])
return {nonce, text, 1, 0}
""",
)
"""Lead or follow: the flight's number, whether this one leads, and whether all go alone."""

RENEW: Final = Script(
    BASE,
    FLIGHT,
    """
if redis.call('GET', lead) ~= ARGV[6] or is_over(ARGV[6]) then return {nonce, 0} end
redis.call('PEXPIRE', lead, ARGV[7])
redis.call('PEXPIRE', log_of(ARGV[6]), 60000)
return {nonce, 1}
""",
)
"""Hold the lead a while longer; whether it is still held."""

APPEND: Final = Script(
    BASE,
    FLIGHT,
    ANNOUNCE,
    """
local channel, number, word, linger, pause = ARGV[4], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
if redis.call('GET', lead) ~= number or is_over(number) then return {nonce, 0} end
local log = log_of(number)
local place = redis.call('XLEN', log)
for at = 10, #ARGV do
  place = place + 1
  redis.call('XADD', log, place .. '-0', 'f', ARGV[at])
end
if word ~= '' then
  redis.call('XADD', log, (place + 1) .. '-0', 'e', word)
  if pause ~= '0' then redis.call('SET', alone, '1', 'PX', pause) end
  if linger ~= '0' then redis.call('PEXPIRE', lead, linger) else redis.call('DEL', lead) end
  redis.call('PEXPIRE', log, 10000)
else
  redis.call('PEXPIRE', log, 60000)
end
announce(channel, flight)
return {nonce, 1}
""",
)
"""Write down what a leader has got, and how it ended; whether it still led."""

LOG: Final = Script(
    BASE,
    FLIGHT,
    """
local number = ARGV[6]
local leads = redis.call('GET', lead) == number and 1 or 0
return {nonce, leads, redis.call('XRANGE', log_of(number), '(' .. ARGV[7] .. '-0', '+', 'COUNT', ARGV[8])}
""",
)
"""Whether its leader still leads, and what is written down after a place."""
