-- Forgets an ended job. Returns deleted | open | unknown.
local id = arg.id
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'fingerprint')
local state = record[1]
-- The second coming of the same call finds the first one's mark.
if not state then
  return (unbury(id) == 1 or redis.call('EXISTS', gone_key(id)) == 1) and 'deleted' or 'unknown'
end
if not TERMINAL[state] then return 'open' end
-- Others must not reuse a picture that is deleted with its job.
if record[2] then
  local painted = redis.call('GET', painted_key(record[2]))
  if painted and decoded(painted).job_id == id then redis.call('DEL', painted_key(record[2])) end
end
remember(id)
-- Unlike of what gave way to another.
redis.call('HSET', gone_key(id), 'deleted', 1)
-- Its senders' tasks are nobody's any more.
local tasks = redis.call('SMEMBERS', tasks_key(id))
table.insert(tasks, redis.call('HGET', key, 'task_id'))
for _, task_id in ipairs(tasks) do
  if redis.call('GET', job_of_task_key(task_id)) == id then redis.call('DEL', job_of_task_key(task_id)) end
end
redis.call('DEL', key, events_key(id), tasks_key(id))
redis.call('ZREM', state_key(state), id)
unlist(id)
redis.call('ZREM', UNTOLD_KEY, id)
unbury(id)
return 'deleted'
