-- A message that holds no valid job ends at once, on record and among the dead letters under its task id,
-- unless a job has that id. Where it is that very job, as a newer producer wrote it, the job ends.
-- Returns {refused | known, event}.
local id, job, letter = arg.id, arg.job, arg.letter
local known = redis.call('HMGET', record_key(id), 'state', 'digest', 'outcome', 'job')
if known[4] == '' then
  -- Replayed, and no better: it is a dead letter again.
  bury(id, letter)
  return {'known', known[3]}
end
if known[1] then
  if known[1] ~= 'queued' or known[2] ~= job.digest then return {'known', known[3] or ''} end
else
  create(id, job)
end
local event = finish(id, 'failed', arg.failed)
bury(id, letter)
return {'refused', event}
