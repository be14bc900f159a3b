-- A worker takes a job off the queue: the next fence, the next attempt, a lease.
-- A job that came by plain Celery has no record yet and gets it here.
-- `recorded`: it had a record when its message was sent. `token`: tells one claim from another.
-- `lacks`: networks one of which the job needs, where this worker has none of them ("": it can paint the job).
-- Returns {verdict, record fields ..., heard, new, waited_ms}: yours | held | early | closed | lacking | ended | conflict | gone.
-- `heard`: whether whoever waits for the message's Celery task may be told of it. `new`: the record is made here.
-- `waited_ms`: since the attempt was due.
local id, job = arg.id, arg.job
local key = record_key(id)
local task_id, owner = job.task_id, job_of(job.task_id)
local is_heard, is_new, waited_ms = not owner or owner == id, false, 0

-- A message of a job that had a record says nothing new of its time.
local gave_way = not arg.recorded and give_way(id, job)
if redis.call('EXISTS', key) == 0 then
  -- It was deleted, or ended so long ago that its record has expired: its message must not bring it back.
  if not gave_way and (arg.recorded or was_deleted(id)) then
    return {'gone', {}, is_heard and 1 or 0, 0, 0}
  end
  if job_of(id) then return {'conflict', {}, owner and 0 or 1, 0, 0} end
  -- Where another job's sender waits for that task, this job is done under its own name.
  if not is_heard then job.task_id = id end
  accept(id, job, arg.accepted)
  is_new = true
end
local record = redis.call('HMGET', key, 'digest', 'state', 'token', 'lease_until_ms', 'deadline_ms', 'not_before_ms',
  'wanted')
local digest, state = record[1], record[2]
local lease_until_ms, deadline_ms, not_before_ms = tonumber(record[4] or 0), tonumber(record[5]), tonumber(record[6] or 0)

local function answer(verdict)
  -- A sender that sent the job once more, under another task id, waits for its end as well.
  local waits = verdict == 'held' or verdict == 'early' or verdict == 'closed' or verdict == 'lacking' or verdict == 'yours'
  if waits and is_heard and task_id ~= id then
    redis.call('SET', job_of_task_key(task_id), id, 'PX', limits.max_deadline_ms)
  end
  if waits and is_heard and task_id ~= redis.call('HGET', key, 'task_id') then
    redis.call('SADD', tasks_key(id), task_id)
    redis.call('PEXPIRE', tasks_key(id), limits.max_deadline_ms)
  end
  return {verdict, redis.call('HGETALL', key), is_heard and 1 or 0, is_new and 1 or 0, waited_ms}
end

if digest ~= job.digest then
  -- Whoever waits for the job of this id hears nothing of one that only calls itself so.
  is_heard = not owner and task_id ~= redis.call('HGET', key, 'task_id')
  return answer('conflict')
end
if not is_new and not arg.recorded then
  give_time(id, job)
  record = redis.call('HMGET', key, 'digest', 'state', 'token', 'lease_until_ms', 'deadline_ms', 'not_before_ms',
    'wanted')
  deadline_ms, not_before_ms = tonumber(record[5]), tonumber(record[6] or 0)
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
  redis.call('HSET', key, 'last_error', '[lease_ran_out] its worker was not heard of any more')
end
-- A fresh message is due at that moment.
if state == 'queued' and not_before_ms > now_ms then return answer('early') end
-- Nobody takes from a queue that is paused, nor does a worker that is drained. A fresh message goes to the list, where it
-- waits until the one is resumed, or for another worker.
local is_paused = redis.call('HEXISTS', PAUSED_KEY, redis.call('HGET', key, 'queue')) == 1
if is_paused or redis.call('EXISTS', drain_key(arg.worker)) == 1 then
  -- Of one that is running without a holder, keepers send it.
  if state == 'running' then return answer('held') end
  make_due(id, now_ms + (is_paused and arg.closed_ms or 0))
  return answer('closed')
end
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
not_due(id)
stop_waiting(id)
local queue, attempt, began_ms = unpack(redis.call('HMGET', key, 'queue', 'attempt', 'updated_ms'))
count('attempts', queue)
waited_ms = now_ms - (state == 'running' and lease_until_ms or math.max(tonumber(began_ms), not_before_ms))
if attempt == '1' then
  observe('wait_s', queue, waited_ms / 1000, arg.wait_bounds_s)
end
if state == 'running' then release_fingerprint(id) else enter(id, 'running') end
redis.call('HSET', key, 'token', arg.token, 'worker', arg.worker, 'lease_until_ms', now_ms + arg.lease_ms)
redis.call('HDEL', key, 'progress', 'progress_number', 'fingerprint', 'not_before_ms')
redis.call('ZADD', LEASES_KEY, now_ms + arg.lease_ms, id)
-- A job that came without a trace context has that of whoever took it first, to which later attempts are linked.
if job.traceparent then redis.call('HSETNX', key, 'traceparent', job.traceparent) end
tell(id, arg.started)
return answer('yours')
