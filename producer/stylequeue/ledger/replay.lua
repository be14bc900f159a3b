-- A job that ended without a picture lives again: the next run, its attempts counted anew.
-- `max_open_jobs` is its tenant's, where whoever asks has one.
-- Returns queued | open | succeeded | unknown | too_many.
local id = arg.id
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'queue', 'deadline_ms', 'job', 'run', 'attempt', 'tenant')
local state = record[1]
if not state or record[4] == '' then return 'unknown' end
if state == 'succeeded' then return 'succeeded' end
-- The same call sent again because its answer was lost; and replaying what has not begun changes nothing.
if state == 'queued' and tonumber(record[5]) > 1 and record[6] == '0' then return 'queued' end
if not TERMINAL[state] then return 'open' end
if arg.max_open_jobs and record[7] and redis.call('ZCARD', tenant_open_key(record[7])) >= arg.max_open_jobs then
  return 'too_many'
end
unbury(id)
redis.call('ZREM', UNTOLD_KEY, id)
redis.call('PERSIST', key)
redis.call('PERSIST', events_key(id))
redis.call('HINCRBY', key, 'run', 1)
redis.call('HSET', key, 'attempt', 0, 'spared', 0)
redis.call('HDEL', key, 'outcome', 'progress', 'progress_number', 'last_error', 'wanted', 'token')
-- A deadline that has passed already would end it again at once.
local deadline_ms = math.max(tonumber(record[3]), now_ms + limits.job_deadline_ms)
redis.call('HSET', key, 'deadline_ms', deadline_ms)
redis.call('ZADD', DEADLINES_KEY, deadline_ms, id)
redis.call('ZADD', queue_key(record[2]), now_ms, id)
if record[7] then redis.call('ZADD', tenant_open_key(record[7]), now_ms, id) end
enter(id, 'queued')
tell(id, arg.accepted)
make_due(id, now_ms)
return 'queued'
