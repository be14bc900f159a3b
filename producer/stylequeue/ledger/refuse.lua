-- A message that holds no valid job.
-- It may be a job's own, as a newer producer wrote it: of that id, under a Celery task of its senders, with the very text
-- (`digest`; "" where the message could be no job's). Then it ends the job.
-- Else it goes to the dead letters. Where a job has its Celery task, it says nothing of that; where nobody has, its own
-- sender is told, and where `task_id` can be an id, that is on record until a job comes under it.
-- Returns {ended | foreign | refused | buried, event}.
local task_id, named, letter = arg.task_id, arg.named, arg.letter

if arg.digest ~= '' then
  local known = redis.call('HMGET', record_key(named), 'state', 'digest', 'outcome', 'job', 'task_id')
  local is_its_task = known[5] == task_id or redis.call('SISMEMBER', tasks_key(named), task_id) == 1
  if (known[4] or '') ~= '' and known[2] == arg.digest and is_its_task then
    if TERMINAL[known[1]] then return {'ended', known[3]} end
    if known[1] == 'queued' then
      local event = finish(named, 'failed', arg.failed_named)
      bury(named, letter)
      return {'ended', event}
    end
  end
end
if task_id ~= '' and job_of(task_id) then
  bury(arg.letter_id, letter)
  return {'foreign', ''}
end
if not arg.on_record or was_deleted(task_id) then
  bury(arg.letter_id, letter)
  return {'buried', ''}
end
local before = redis.call('HMGET', record_key(task_id), 'job', 'outcome')
if before[1] == '' then
  -- Replayed, and no better: it is a dead letter again.
  bury(task_id, letter)
  return {'refused', before[2]}
end
create(task_id, arg.job)
local event = finish(task_id, 'failed', arg.failed)
bury(task_id, letter)
return {'refused', event}
