-- Takes the jobs for which a fresh message is due. Whoever takes them sends it.
-- ARGV: limits, how many at most. Returns {id, job, task id, ...}.
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DUE_KEY, '-inf', now_ms, 'LIMIT', 0, ARGV[2])) do
  redis.call('ZREM', DUE_KEY, id)
  local record = redis.call('HMGET', record_key(id), 'state', 'job', 'task_id')
  if record[1] == 'queued' then
    table.insert(found, id)
    table.insert(found, record[2])
    table.insert(found, record[3])
  end
end
return found
