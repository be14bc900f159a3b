-- A worker takes a job off the queue: the next fence, the next attempt, a lease.
-- A job that came by plain Celery has no record yet and gets it here.
-- ARGV: limits, id, job, accepted draft, claim {token, worker, lease_ms, redelivered}, started draft, expired draft.
-- Returns {verdict, record fields ...}: yours | held | ended | conflict.
local id, job, claim = ARGV[2], cjson.decode(ARGV[3]), cjson.decode(ARGV[5])
local key = record_key(id)

if redis.call('EXISTS', key) == 0 then accept(id, job, ARGV[4]) end
local record = redis.call('HMGET', key, 'digest', 'state', 'token', 'lease_until_ms', 'deadline_ms')
local digest, state, token = record[1], record[2], record[3]
local lease_until_ms, deadline_ms = tonumber(record[4] or 0), tonumber(record[5])

local function answer(verdict) return {verdict, redis.call('HGETALL', key)} end

if digest ~= job.digest then return answer('conflict') end
if TERMINAL[state] then return answer('ended') end
-- The same claim sent again because its answer was lost.
if token == claim.token then return answer('yours') end
-- Only one delivery of a message lives at a time, so a redelivered one means that its holder is gone.
if state == 'running' and lease_until_ms > now_ms and not claim.redelivered then return answer('held') end
if deadline_ms <= now_ms then
  finish(id, 'expired', ARGV[7])
  return answer('ended')
end

redis.call('HINCRBY', key, 'fence', 1)
redis.call('HINCRBY', key, 'attempt', 1)
redis.call('HSET', key, 'token', claim.token, 'worker', claim.worker, 'lease_until_ms', now_ms + claim.lease_ms)
redis.call('HDEL', key, 'progress', 'progress_number')
if state ~= 'running' then enter(id, 'running') end
tell(id, ARGV[6])
return answer('yours')
