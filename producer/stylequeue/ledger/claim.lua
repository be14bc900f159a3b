-- A worker takes a job off the queue: the next fence, the next attempt, a lease.
-- A job that came by plain Celery has no record yet and gets it here.
-- `recorded`: it had a record when its message was sent. `token`: tells one claim from another.
-- `lacks`: networks one of which the job needs, where this worker has none of them ("": it can paint the job).
-- Returns {verdict, record fields ...}: yours | held | early | lacking | ended | conflict | gone.
local id, job = arg.id, arg.job
local key = record_key(id)
local is_new = false

-- What was refused under this id before, and is a job now, was replayed to a newer worker.
if redis.call('HGET', key, 'job') == '' then
  unbury(id)
  redis.call('ZREM', state_key(redis.call('HGET', key, 'state')), id)
  redis.call('ZREM', UNTOLD_KEY, id)
  remember(id)
  redis.call('DEL', key, events_key(id))
  accept(id, job, arg.accepted)
  is_new = true
elseif redis.call('EXISTS', key) == 0 then
  -- It was deleted, or ended so long ago that its record has expired: its message must not bring it back.
  if arg.recorded or redis.call('EXISTS', gone_key(id)) == 1 then return {'gone', {}} end
  accept(id, job, arg.accepted)
  is_new = true
end
local record = redis.call('HMGET', key, 'digest', 'state', 'token', 'lease_until_ms', 'deadline_ms', 'not_before_ms',
  'wanted', 'worker')
local digest, state = record[1], record[2]
local lease_until_ms, deadline_ms, not_before_ms = tonumber(record[4] or 0), tonumber(record[5]), tonumber(record[6] or 0)

local function answer(verdict)
  -- A sender that sent the job once more, under another task id, waits for its end as well.
  local waits = verdict == 'held' or verdict == 'early' or verdict == 'lacking' or verdict == 'yours'
  if waits and job.task_id ~= id then
    redis.call('SET', job_of_task_key(job.task_id), id, 'PX', limits.max_deadline_ms)
  end
  if waits and job.task_id ~= redis.call('HGET', key, 'task_id') then
    redis.call('SADD', tasks_key(id), job.task_id)
    redis.call('PEXPIRE', tasks_key(id), limits.max_deadline_ms)
  end
  return {verdict, redis.call('HGETALL', key)}
end

if digest ~= job.digest then return answer('conflict') end
if is_new and redis.call('DEL', revoked_key(job.task_id)) == 1 then
  finish(id, 'cancelled', arg.cancelled)
  return answer('ended')
end
if TERMINAL[state] then return answer('ended') end
-- The same claim sent again because its answer was lost.
if state == 'running' and record[3] == arg.token then return answer('yours') end
-- The lease says whether the holder lives, however this message came.
if state == 'running' and lease_until_ms > now_ms then return answer('held') end
if deadline_ms <= now_ms then
  finish(id, 'expired', arg.expired)
  return answer('ended')
end
if state == 'running' then
  -- Its holder is gone.
  if record[7] == 'cancel' then
    finish(id, 'cancelled', arg.cancelled)
    return answer('ended')
  end
  redis.call('HSET', key, 'last_error', '[lease_ran_out] worker ' .. record[8] .. ' was not heard of any more')
end
-- A fresh message is due at that moment.
if state == 'queued' and not_before_ms > now_ms then return answer('early') end
if exhausted(id) then
  give_up(id, arg.exhausted)
  return answer('ended')
end
if arg.lacks ~= '' then
  wait_for_network(id, arg.lacks)
  return answer('lacking')
end

redis.call('HINCRBY', key, 'fence', 1)
redis.call('HINCRBY', key, 'attempt', 1)
redis.call('ZREM', DUE_KEY, id)
stop_waiting(id)
if state == 'running' then release_fingerprint(id) else enter(id, 'running') end
redis.call('HSET', key, 'token', arg.token, 'worker', arg.worker, 'lease_until_ms', now_ms + arg.lease_ms)
redis.call('HDEL', key, 'progress', 'progress_number', 'fingerprint', 'not_before_ms')
redis.call('ZADD', LEASES_KEY, now_ms + arg.lease_ms, id)
tell(id, arg.started)
return answer('yours')
