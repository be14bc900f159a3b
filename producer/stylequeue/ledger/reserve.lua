-- The holder of a job is about to paint a picture, named by its fingerprint. Nobody paints the same twice:
-- what is painted is reused, what is being painted is waited for.
-- `forget`: what was painted is gone from the store.
-- Returns {paint | reuse | wait | lost, JSON of what was painted}.
local id, fingerprint = arg.id, arg.fingerprint
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'fence', 'woken_for')
if record[1] ~= 'running' or record[2] ~= arg.fence then return {stale(), ''} end
if arg.forget then redis.call('DEL', painted_key(fingerprint)) end

local painted = redis.call('GET', painted_key(fingerprint))
if record[3] ~= fingerprint then
  pass_on(id, 1)
elseif painted then
  -- Twice as many each time: soon as many at once as there are workers, and no more.
  pass_on(id, 2)
else
  -- Whoever paints it now, this one or another, wakes the next.
  redis.call('HDEL', key, 'woken_for')
end
if painted then return {'reuse', painted} end

local holder = redis.call('GET', painting_key(fingerprint))
if holder and holder ~= id then
  local other = redis.call('HMGET', record_key(holder), 'state', 'fingerprint')
  if other[1] == 'running' and other[2] == fingerprint then
    -- Parked: no message, no lease, no attempt charged. The holder's next move wakes it, whatever that is.
    put_back(id, '', 0, false)
    park(id)
    redis.call('HSET', key, 'waits_for', fingerprint)
    redis.call('SADD', waiters_key(fingerprint), id)
    redis.call('PEXPIRE', waiters_key(fingerprint), limits.max_deadline_ms)
    return {'wait', ''}
  end
end
redis.call('SET', painting_key(fingerprint), id, 'PX', limits.max_deadline_ms)
redis.call('HSET', key, 'fingerprint', fingerprint)
return {'paint', ''}
