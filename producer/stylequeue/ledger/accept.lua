-- A producer hands a job in. The same id with the same content, from the same tenant, is the same job.
-- `gave_way`: whether what was there under this id did so, and its senders were told of an end that is not this job's.
-- `max_open_jobs` is its tenant's, where it has one. `once`: what was deleted stays so, for its own tenant, too.
-- Returns {verdict, state, gave_way}: new | known | conflict | full | too_many.
local id, job = arg.id, arg.job
local gave_way = 0
-- Nothing bears most ids.
if redis.call('EXISTS', record_key(id), gone_key(id), job_of_task_key(id)) > 0 then
  local is_theirs = tenant_of(id) == (job.tenant or '')
  -- What is another tenant's, or nobody's, stays as it is; a message that was no job is no one's.
  local may_go = is_theirs or redis.call('HGET', record_key(id), 'job') == ''
  gave_way = may_go and give_way(id, job) and 1 or 0
  local known = redis.call('HMGET', record_key(id), 'digest', 'state')
  if known[1] then
    if known[1] ~= job.digest or not is_theirs then return {'conflict', known[2], 0} end
    give_time(id, job)
    return {'known', known[2], 0}
  end
  if was_deleted(id) and (not is_theirs or (arg.once and redis.call('HEXISTS', gone_key(id), 'deleted') == 1)) then
    return {'conflict', '', 0}
  end
  if job_of(id) then return {'conflict', '', 0} end
end
if redis.call('ZCARD', queue_key(job.queue)) >= limits.max_open_jobs then return {'full', '', gave_way} end
if arg.max_open_jobs and redis.call('ZCARD', tenant_open_key(job.tenant)) >= arg.max_open_jobs then
  return {'too_many', '', gave_way}
end
accept(id, job, arg.accepted)
return {'new', 'queued', gave_way}
