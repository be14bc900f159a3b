-- Takes the jobs for which a fresh message is due. Whoever takes them sends it.
-- Returns {id, job, queue, task id, trace context or '', ...}.
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DUE_KEY, '-inf', now_ms, 'LIMIT', 0, arg.count)) do
  not_due(id)
  local record = redis.call('HMGET', record_key(id), 'state', 'job', 'queue', 'task_id', 'traceparent')
  if record[1] == 'queued' then
    local created_ms = redis.call('ZSCORE', queue_key(record[3]), id)
    redis.call('ZADD', ready_key(record[3]), created_ms or now_ms, id)
    for _, part in ipairs({id, record[2], record[3], record[4], record[5] or ''}) do table.insert(found, part) end
  end
end
return found
