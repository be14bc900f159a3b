-- Takes the jobs for which a fresh message is due. Whoever takes them sends it.
-- Returns {id, job, queue, task id, ...}.
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DUE_KEY, '-inf', now_ms, 'LIMIT', 0, arg.count)) do
  redis.call('ZREM', DUE_KEY, id)
  local record = redis.call('HMGET', record_key(id), 'state', 'job', 'queue', 'task_id')
  if record[1] == 'queued' then
    for _, part in ipairs({id, record[2], record[3], record[4]}) do table.insert(found, part) end
  end
end
return found
