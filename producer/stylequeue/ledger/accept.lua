-- A producer hands a job in. The same id with the same content, from the same tenant, is the same job.
-- Returns {verdict, state}: new | known | conflict | full.
local id, job = arg.id, arg.job
local is_theirs = tenant_of(id) == (job.tenant or '')
local known = redis.call('HMGET', record_key(id), 'digest', 'state')
if known[1] then return {known[1] == job.digest and is_theirs and 'known' or 'conflict', known[2]} end
if not is_theirs and redis.call('EXISTS', gone_key(id)) == 1 then return {'conflict', ''} end
if redis.call('ZCARD', queue_key(job.queue)) >= limits.max_open_jobs then return {'full', ''} end
accept(id, job, arg.accepted)
return {'new', 'queued'}
