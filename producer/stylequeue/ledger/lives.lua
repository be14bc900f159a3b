-- How jobs come, go on and end, behind waiting.lua.

-- Puts a job into a state: record, indexes, counters, and a TTL where its life ends.
local function enter(id, state)
  local key = record_key(id)
  local before, queue, tenant = unpack(redis.call('HMGET', key, 'state', 'queue', 'tenant'))
  if before then redis.call('ZREM', state_key(before), id) end
  if before == 'queued' then redis.call('ZREM', ready_key(queue), id) end
  redis.call('ZADD', state_key(state), now_ms, id)
  if state == 'queued' then
    redis.call('ZADD', ready_key(queue), redis.call('ZSCORE', queue_key(queue), id) or now_ms, id)
  end
  redis.call('HSET', key, 'state', state, 'updated_ms', now_ms)
  redis.call('HINCRBY', COUNTERS_KEY, state, 1)
  if before == 'running' then
    redis.call('ZREM', LEASES_KEY, id)
    redis.call('HDEL', key, 'lease_until_ms')
    if state ~= 'running' then release_fingerprint(id) end
  end
  if TERMINAL[state] then
    redis.call('ZREM', queue_key(queue), id)
    if tenant then redis.call('ZREM', tenant_open_key(tenant), id) end
    redis.call('ZREM', DEADLINES_KEY, id)
    not_due(id)
    stop_waiting(id)
    pass_on(id, 1)
    redis.call('HDEL', key, 'not_before_ms', 'wanted')
    redis.call('PEXPIRE', key, limits.record_ttl_ms)
    redis.call('PEXPIRE', events_key(id), limits.record_ttl_ms)
    trim(state)
  end
end

-- Ends a job with its terminal event, which is kept in the record as well.
local function finish(id, state, draft)
  local event = tell(id, draft)
  redis.call('HSET', record_key(id), 'outcome', event)
  local queue = redis.call('HGET', record_key(id), 'queue')
  local minute = ended_key(queue .. ':' .. math.floor(now_ms / 60000))
  count('jobs_ended', queue, state, state ~= 'succeeded' and decoded(cjson.decode(draft).data).code or '')
  redis.call('INCR', minute)
  redis.call('PEXPIRE', minute, limits.rate_kept_ms)
  enter(id, state)
  redis.call('ZADD', UNTOLD_KEY, now_ms, id)
  slim(events_key(id))
  return event
end

-- What stays of a record that goes: should its id come again, fence, run and sequence go on from there, so that
-- nobody takes an old attempt or an old event for a new one.
local function remember(id)
  local last = redis.call('HMGET', record_key(id), 'fence', 'run', 'sequence')
  redis.call('HSET', gone_key(id), 'fence', last[1], 'run', last[2], 'sequence', last[3])
  local tenant = redis.call('HGET', record_key(id), 'tenant')
  if tenant then redis.call('HSET', gone_key(id), 'tenant', tenant) end
  if redis.call('HGET', record_key(id), 'job') == '' then redis.call('HSET', gone_key(id), 'refused', 1) end
  redis.call('PEXPIRE', gone_key(id), limits.record_ttl_ms)
end

-- Whether a job had this id that is gone.
local function was_deleted(id)
  return redis.call('EXISTS', gone_key(id)) == 1 and redis.call('HEXISTS', gone_key(id), 'refused') == 0
end

-- Which job has a Celery task, so that it alone tells the task's result: the one of that very id, or the first one whose
-- message came under it. No job gets an id that is another's task.
local function job_of(task_id)
  local is_id = #task_id <= limits.max_id_chars and string.match(task_id, '^%w[%w._-]*$')
  if is_id and (redis.call('HGET', record_key(task_id), 'job') or '') ~= '' then return task_id end
  local other = redis.call('GET', job_of_task_key(task_id))
  return other and redis.call('EXISTS', record_key(other)) == 1 and other or nil
end

local function deadline_of(job)
  local begins_ms = math.max(now_ms, job.not_before_ms or 0)
  return math.min(job.deadline_ms or (begins_ms + limits.job_deadline_ms), now_ms + limits.max_deadline_ms)
end

local function create(id, job)
  local last = redis.call('HMGET', gone_key(id), 'fence', 'run', 'sequence')
  if last[1] then redis.call('DEL', gone_key(id)) end
  local deadline_ms = deadline_of(job)
  redis.call('HSET', record_key(id),
    'id', id, 'job', job.job, 'digest', job.digest, 'queue', job.queue, 'task_id', job.task_id, 'labels', job.labels,
    'run', (last[2] or 0) + 1, 'attempt', 0, 'spared', 0, 'fence', last[1] or 0, 'sequence', last[3] or 0,
    'created_ms', now_ms, 'deadline_ms', deadline_ms)
  if job.time_limit_s then redis.call('HSET', record_key(id), 'time_limit_s', job.time_limit_s) end
  for _, name in ipairs({'scope', 'notify', 'traceparent'}) do
    if job[name] then redis.call('HSET', record_key(id), name, job[name]) end
  end
  if job.hurried then redis.call('HSET', record_key(id), 'hurried', 1) end
  redis.call('ZADD', DEADLINES_KEY, deadline_ms, id)
  redis.call('ZADD', CREATED_KEY, now_ms, id)
  if job.tenant then
    redis.call('HSET', record_key(id), 'tenant', job.tenant)
    redis.call('HSET', TENANTS_KEY, id, job.tenant)
    redis.call('ZADD', tenant_key(job.tenant), now_ms, id)
    redis.call('ZADD', tenant_open_key(job.tenant), now_ms, id)
  end
  index_labels(id, job)
  redis.call('ZADD', queue_key(job.queue), now_ms, id)
end

-- What bears this id gives way to a job that somebody sends under it now: a message that was no job, and a job that its
-- message's own time had ended (`expires` and the like: whoever sent that spoke for no other sender). Returns whether
-- something was there that did.
local function give_way(id, job)
  local key = record_key(id)
  local record = redis.call('HMGET', key, 'job', 'state', 'hurried', 'attempt', 'digest', 'outcome')
  if not record[1] then return false end
  if record[1] ~= '' then
    if not record[3] then return false end
    local told = decoded(record[6]).data
    local too_slow = record[2] == 'failed' and type(told) == 'table' and told.code == 'time_limit'
    if not (record[2] == 'expired' or too_slow) then return false end
    if record[5] ~= job.digest and record[4] ~= '0' then return false end
    -- It is in the same hurry.
    if deadline_of(job) <= now_ms or (too_slow and job.time_limit_s) then return false end
  end
  unbury(id)
  redis.call('ZREM', state_key(record[2]), id)
  redis.call('ZREM', UNTOLD_KEY, id)
  unlist(id)
  remember(id)
  redis.call('DEL', key, events_key(id), tasks_key(id))
  return true
end

-- Another sender of the same job, who is in less of a hurry than the first.
local function give_time(id, job)
  local key = record_key(id)
  local record = redis.call('HMGET', key, 'hurried', 'state', 'deadline_ms', 'time_limit_s', 'not_before_ms', 'attempt')
  if not record[1] or TERMINAL[record[2]] then return end
  local deadline_ms = deadline_of(job)
  if deadline_ms > tonumber(record[3]) then
    redis.call('HSET', key, 'deadline_ms', deadline_ms)
    redis.call('ZADD', DEADLINES_KEY, deadline_ms, id)
  end
  if not job.time_limit_s then
    redis.call('HDEL', key, 'time_limit_s')
  elseif record[4] and job.time_limit_s > tonumber(record[4]) then
    redis.call('HSET', key, 'time_limit_s', job.time_limit_s)
  end
  local not_before_ms = math.max(now_ms, job.not_before_ms or 0)
  if record[2] == 'queued' and record[6] == '0' and record[5] and tonumber(record[5]) > not_before_ms then
    redis.call('HSET', key, 'not_before_ms', not_before_ms)
    make_due(id, not_before_ms)
  end
end

-- Whether the attempts charged to this run are used up.
local function exhausted(id)
  local record = redis.call('HMGET', record_key(id), 'attempt', 'spared')
  return tonumber(record[1]) - tonumber(record[2] or 0) >= limits.max_attempts
end

-- Ends a job whose attempts are used up, as a dead letter.
local function give_up(id, draft)
  local record = redis.call('HMGET', record_key(id), 'queue', 'job', 'attempt', 'last_error')
  local event = finish(id, 'failed', draft)
  bury(id, {kind = 'job', queue = record[1], code = 'attempts_exhausted', reason = record[4] or '', attempts = record[3],
    message = record[2]})
  return event
end

-- A running job goes back to the queue; a fresh message is due after `delay_ms`.
local function put_back(id, error, delay_ms, charged)
  local key = record_key(id)
  if not charged then redis.call('HINCRBY', key, 'spared', 1) end
  redis.call('HSET', key, 'last_error', error, 'not_before_ms', now_ms + delay_ms)
  redis.call('HDEL', key, 'progress', 'progress_number')
  enter(id, 'queued')
  make_due(id, now_ms + delay_ms)
end

-- A job that the worker at hand cannot paint: it waits, without message, lease or charge, for one that has one of these
-- networks ("vgg19,vgg16"). Such a worker wakes it when it is heard of.
local function wait_for_network(id, networks)
  local key = record_key(id)
  if redis.call('HGET', key, 'state') ~= 'queued' then enter(id, 'queued') end
  stop_waiting(id)
  pass_on(id, 1)
  park(id)
  redis.call('HSET', key, 'lacks', networks)
  local lacking = lacking_key(redis.call('HGET', key, 'queue') .. ':' .. networks)
  redis.call('ZADD', lacking, now_ms, id)
  redis.call('PEXPIRE', lacking, limits.max_deadline_ms)
end

local function accept(id, job, accepted)
  create(id, job)
  enter(id, 'queued')
  if (job.not_before_ms or 0) > now_ms then
    redis.call('HSET', record_key(id), 'not_before_ms', job.not_before_ms)
    make_due(id, job.not_before_ms)
  end
  tell(id, accepted)
  count('jobs_accepted', job.queue)
  slim(events_key(id))
end
