"""What scripts call, tried without harm: a Redis user may lack a command that nothing but a script ever uses."""

from __future__ import annotations

from typing import Final

SCRIPT: Final = """
redis.call('SET', KEYS[1], '1', 'PX', 1000)
for _, words in ipairs(ARGV) do
  local call = {}
  for word in string.gmatch(words, '%S+') do table.insert(call, word == 'key' and KEYS[1] or word) end
  local answer = redis.pcall(unpack(call))
  local said = type(answer) == 'table' and answer.err or ''
  if string.find(said, 'ACL failure') or string.find(said, 'NOPERM') then
    return redis.error_reply('NOPERM ' .. call[1])
  end
end
return redis.call('SET', KEYS[1], '1', 'PX', 1000)
"""
"""That a text is under the key is no answer of interest; that a command is forbidden is."""

CALLS: Final = (
    "TIME",
    "GET key",
    "EXISTS key",
    "PTTL key",
    "PEXPIRE key 1000",
    "PERSIST key",
    "HGET key a",
    "HMGET key a",
    "HGETALL key",
    "HEXISTS key a",
    "HSET key a 1",
    "HSETNX key a 1",
    "HDEL key a",
    "HINCRBY key a 1",
    "HINCRBYFLOAT key a 1",
    "HKEYS key",
    "INCR key",
    "ZADD key 1 a",
    "ZREM key a",
    "ZSCORE key a",
    "ZMSCORE key a",
    "ZRANK key a",
    "ZCARD key",
    "ZCOUNT key 0 0",
    "ZDIFFSTORE key 1 key",
    "ZINTERSTORE key 1 key",
    "ZRANGE key 0 0",
    "ZINTERCARD 1 key",
    "ZRANGEBYSCORE key 0 0",
    "ZREMRANGEBYSCORE key 0 0",
    "SADD key a",
    "SREM key a",
    "SMEMBERS key",
    "SISMEMBER key a",
    "SRANDMEMBER key 1",
    "XADD key * a 1",
    "XRANGE key 0 0",
    "XINFO STREAM key",
    "XGROUP CREATE key a 0",
    "XREADGROUP GROUP a a STREAMS key >",
    "XPENDING key a",
    "XCLAIM key a a 0 0-1",
    "XACK key a 0-1",
    "COPY key key",
    "RENAME key key",
    "DEL key",
    "PUBLISH stylequeue:lifecycle:probe a",
    "PUBLISH stylequeue:progress:probe a",
)
