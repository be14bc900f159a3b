-- What every move shares. The names of keys stand in front of it (names.py), the move itself behind it.
-- Keys are derived here, not passed: Redis Cluster is out anyway (the broker's transport cannot use it).
-- Time is Redis's own, so that no machine's clock matters.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local TERMINAL = {succeeded = true, failed = true, cancelled = true, expired = true}

-- Limits, the same for every move, and the move's arguments by their names: see moves.py.
local limits, arg = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])

-- uuid5, as in events.event_id().
local function uuid5(name)
  local namespace = string.gsub(limits.namespace, '%x%x', function(h) return string.char(tonumber(h, 16)) end)
  local hex = redis.sha1hex(namespace .. name)
  local variant = string.format('%x', 8 + tonumber(string.sub(hex, 17, 17), 16) % 4)
  return string.sub(hex, 1, 8) .. '-' .. string.sub(hex, 9, 12) .. '-5' .. string.sub(hex, 14, 16)
    .. '-' .. variant .. string.sub(hex, 18, 20) .. '-' .. string.sub(hex, 21, 32)
end

-- What the text of a JSON object says, nothing where it is none: whoever can write here may have spoilt it.
local function decoded(text)
  local known, value = pcall(cjson.decode, text)
  return known and type(value) == 'table' and value or {}
end

-- The job's labels as JSON. A record of before they were a field of it has them in the job alone.
local function labels_of(id)
  local record = redis.call('HMGET', record_key(id), 'labels', 'job')
  if record[1] then return record[1] end
  local labels = decoded(record[2]).labels
  return labels and cjson.encode(labels) or '{}'
end

-- Counts what happened, by its name and labels.
local function count(...) redis.call('HINCRBY', COUNTERS_KEY, table.concat({...}, '|'), 1) end

-- Puts a measured value into a histogram; `bounds` are its buckets' upper ends.
local function observe(name, label, value, bounds)
  local bucket = 0
  while bucket < #bounds and value > bounds[bucket + 1] do bucket = bucket + 1 end
  local field = name .. '|' .. label .. '|'
  redis.call('HINCRBY', HISTOGRAMS_KEY, field .. bucket, 1)
  redis.call('HINCRBYFLOAT', HISTOGRAMS_KEY, field .. 'sum', value)
end

-- A write by whoever does not hold the job any more: it is refused.
local function stale()
  count('stale_writes')
  return 'lost'
end

-- Completes an event draft, appends it to the job's stream and, unless it is progress, to the deployment's.
-- Text is spliced, not decoded and encoded again: numbers and empty lists stay as they were written.
local function tell(id, draft_json)
  local draft = cjson.decode(draft_json)
  local key = record_key(id)
  local sequence = redis.call('HINCRBY', key, 'sequence', 1)
  local record = redis.call('HMGET', key, 'run', 'attempt', 'tenant', 'notify')
  local run, attempt, tenant = record[1], record[2], record[3]
  local what = draft.terminal and '' or (attempt .. '/' .. draft.number)
  local function with(labels)
    return '{"id":"' .. uuid5(id .. '/' .. run .. '/' .. draft.event_type .. '/' .. what)
      .. '","sequence":"' .. string.format('%010d', sequence) .. '",' .. string.sub(draft.envelope, 2, -2)
      .. ',"data":{' .. (tenant and '"tenant":"' .. tenant .. '",' or '') .. '"labels":' .. labels .. ',"run":' .. run
      .. ',"attempt":' .. attempt .. (draft.data == '{}' and '' or ',') .. string.sub(draft.data, 2) .. '}'
  end
  local event = with(labels_of(id))
  if #event > limits.max_event_bytes then event = with('{}') end
  redis.call('XADD', events_key(id), 'MAXLEN', '~', limits.job_events, sequence .. '-1', 'event', event)
  if draft.lifecycle then
    -- What whoever hands it on goes by stands beside it: whose the job is, and which endpoints it names (JSON).
    local entry = {'event', event}
    for n, name in ipairs({'tenant', 'notify'}) do
      local value = record[n + 2]
      if value then
        table.insert(entry, name)
        table.insert(entry, value)
      end
    end
    redis.call('XADD', EVENTS_KEY, 'MAXLEN', '~', limits.deployment_events, '*', unpack(entry))
  end
  -- Whoever hears it need not wait for its next look. It is no part of the move: a user who may not publish moves on.
  local channel = draft.lifecycle and lifecycle_channel or progress_channel
  redis.pcall('PUBLISH', channel(limits.database), id)
  return event
end

-- Whose job that is or, once its record is deleted, was: an id stays its tenant's. '' for nobody's.
local function tenant_of(id)
  return redis.call('HGET', record_key(id), 'tenant') or redis.call('HGET', gone_key(id), 'tenant') or ''
end

-- Takes the job out of the lists of all there are.
local function unlist(id)
  redis.call('ZREM', CREATED_KEY, id)
  local tenant = redis.call('HGET', TENANTS_KEY, id)
  if tenant then
    redis.call('ZREM', tenant_key(tenant), id)
    redis.call('HDEL', TENANTS_KEY, id)
  end
  local labelled = redis.call('HGET', LABELLED_KEY, id)
  if labelled then
    for index in string.gmatch(labelled, '%x+') do redis.call('ZREM', label_key(index), id) end
    redis.call('HDEL', LABELLED_KEY, id)
  end
end

-- Puts the job into the indexes of those of its labels that lists are to find quickly: its tenant's and everybody's.
local function index_labels(id, job)
  local labels, indexes = decoded(job.labels), {}
  for _, name in ipairs(limits.indexed_labels) do
    for _, whose in ipairs(labels[name] and {'', job.tenant} or {}) do
      local index = redis.sha1hex(whose .. '\0' .. name .. '\0' .. labels[name])
      redis.call('ZADD', label_key(index), now_ms, id)
      table.insert(indexes, index)
    end
  end
  if indexes[1] then redis.call('HSET', LABELLED_KEY, id, table.concat(indexes, ' ')) end
end

-- Forgets the index entries of jobs whose records have expired by now; a few at a time.
local function trim(state)
  local oldest_ms = now_ms - limits.record_ttl_ms
  local gone = redis.call('ZRANGEBYSCORE', state_key(state), '-inf', oldest_ms, 'LIMIT', 0, 100)
  for _, id in ipairs(gone) do
    redis.call('ZREM', state_key(state), id)
    unlist(id)
  end
end

-- The job waits for no other's picture any more, and for no network.
local function stop_waiting(id)
  redis.call('ZREM', WAITING_KEY, id)
  local record = redis.call('HMGET', record_key(id), 'waits_for', 'lacks', 'queue')
  if record[1] then
    redis.call('SREM', waiters_key(record[1]), id)
    redis.call('HDEL', record_key(id), 'waits_for')
  end
  if record[2] then
    redis.call('ZREM', lacking_key(record[3] .. ':' .. record[2]), id)
    redis.call('HDEL', record_key(id), 'lacks')
  end
end

-- Makes a fresh message due now for some of the jobs that wait for this fingerprint. Each of them wakes others in turn,
-- when it asks for the picture or ends before: where thousands wait, they do not all come at once.
local function wake_waiters(fingerprint, count)
  for _, id in ipairs(redis.call('SRANDMEMBER', waiters_key(fingerprint), count)) do
    stop_waiting(id)
    redis.call('HSET', record_key(id), 'woken_for', fingerprint)
    redis.call('ZADD', DUE_KEY, now_ms, id)
  end
end

-- The job was woken for a picture, and has asked for it or never will: `count` others are woken in its place.
local function pass_on(id, count)
  local fingerprint = redis.call('HGET', record_key(id), 'woken_for')
  if fingerprint then
    redis.call('HDEL', record_key(id), 'woken_for')
    wake_waiters(fingerprint, count)
  end
end

-- The holder of a fingerprint no longer paints it.
local function release_fingerprint(id)
  local fingerprint = redis.call('HGET', record_key(id), 'fingerprint')
  if fingerprint and redis.call('GET', painting_key(fingerprint)) == id then
    redis.call('DEL', painting_key(fingerprint))
    -- Where there is a picture, the woken take it and wake others; where there is none, the first of them paints it.
    wake_waiters(fingerprint, 1)
  end
end

-- Puts an entry among the dead letters. A message that was no job keeps its own text; a job has its record.
-- Where there are too many, or they take too much, the oldest go.
local function unbury(id)
  redis.call('ZREM', DEAD_KEY, id)
  redis.call('ZREM', NOTIFIED_AGAIN_KEY, id)
  redis.call('HINCRBY', COUNTERS_KEY, 'dead_letters_bytes', -(redis.call('HGET', DEAD_SIZES_KEY, id) or 0))
  redis.call('HDEL', DEAD_SIZES_KEY, id)
  return redis.call('DEL', dead_key(id))
end

local function bury(id, letter)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', DEAD_KEY, '-inf', now_ms - limits.record_ttl_ms)) do unbury(old) end
  unbury(id)
  redis.call('ZADD', DEAD_KEY, now_ms, id)
  redis.call('HSET', dead_key(id), 'id', id, 'kind', letter.kind, 'queue', letter.queue, 'code', letter.code, 'reason', letter.reason,
    'attempts', letter.attempts or 0, 'message', letter.message, 'buried_ms', now_ms)
  redis.call('PEXPIRE', dead_key(id), limits.record_ttl_ms)
  local size_bytes = #letter.message + #letter.reason
  redis.call('HSET', DEAD_SIZES_KEY, id, size_bytes)
  count('dead_letters', letter.kind)
  local all_bytes = redis.call('HINCRBY', COUNTERS_KEY, 'dead_letters_bytes', size_bytes)
  while redis.call('ZCARD', DEAD_KEY) > limits.max_dead_letters or all_bytes > limits.max_dead_letters_bytes do
    local oldest = redis.call('ZRANGE', DEAD_KEY, 0, 0)[1]
    if not oldest then
      -- Somebody else's hand: the sum is of nothing.
      redis.call('HSET', COUNTERS_KEY, 'dead_letters_bytes', 0)
      break
    end
    unbury(oldest)
    redis.call('HINCRBY', COUNTERS_KEY, 'dead_letters_dropped', 1)
    all_bytes = tonumber(redis.call('HGET', COUNTERS_KEY, 'dead_letters_bytes'))
  end
end

-- Puts a job into a state: record, indexes, counters, and a TTL where its life ends.
local function enter(id, state)
  local key = record_key(id)
  local before = redis.call('HGET', key, 'state')
  if before then redis.call('ZREM', state_key(before), id) end
  redis.call('ZADD', state_key(state), now_ms, id)
  redis.call('HSET', key, 'state', state, 'updated_ms', now_ms)
  redis.call('HINCRBY', COUNTERS_KEY, state, 1)
  redis.call('ZREM', LEASES_KEY, id)
  redis.call('HDEL', key, 'lease_until_ms')
  if state ~= 'running' then release_fingerprint(id) end
  if TERMINAL[state] then
    local queue, tenant = unpack(redis.call('HMGET', key, 'queue', 'tenant'))
    redis.call('ZREM', queue_key(queue), id)
    if tenant then redis.call('ZREM', tenant_open_key(tenant), id) end
    for _, index in ipairs({DEADLINES_KEY, DUE_KEY}) do redis.call('ZREM', index, id) end
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
  redis.call('DEL', gone_key(id))
  local deadline_ms = deadline_of(job)
  redis.call('HSET', record_key(id),
    'id', id, 'job', job.job, 'digest', job.digest, 'queue', job.queue, 'task_id', job.task_id, 'labels', job.labels,
    'run', (last[2] or 0) + 1, 'attempt', 0, 'spared', 0, 'fence', last[1] or 0, 'sequence', last[3] or 0,
    'created_ms', now_ms, 'deadline_ms', deadline_ms)
  if job.time_limit_s then redis.call('HSET', record_key(id), 'time_limit_s', job.time_limit_s) end
  for _, name in ipairs({'scope', 'notify'}) do
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
    redis.call('ZADD', DUE_KEY, not_before_ms, id)
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
  redis.call('ZADD', DUE_KEY, now_ms + delay_ms, id)
end

-- A job that the worker at hand cannot paint: it waits, without message, lease or charge, for one that has one of these
-- networks ("vgg19,vgg16"). Such a worker wakes it when it is heard of.
local function wait_for_network(id, networks)
  local key = record_key(id)
  if redis.call('HGET', key, 'state') ~= 'queued' then enter(id, 'queued') end
  stop_waiting(id)
  pass_on(id, 1)
  redis.call('ZREM', DUE_KEY, id)
  redis.call('ZADD', WAITING_KEY, now_ms, id)
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
    redis.call('ZADD', DUE_KEY, job.not_before_ms, id)
  end
  tell(id, accepted)
  count('jobs_accepted', job.queue)
end
