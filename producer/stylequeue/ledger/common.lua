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

-- The labels as JSON of a job whose record is of before they were a field of it.
local function labels_of(id)
  local labels = decoded(redis.call('HGET', record_key(id), 'job')).labels
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
  local record = redis.call('HMGET', key, 'run', 'attempt', 'tenant', 'notify', 'labels', 'traceparent')
  local run, attempt, tenant = record[1], record[2], record[3]
  -- That of whoever did it, if he has one; else the one that the job came with.
  local traceparent = draft.traceparent ~= '' and draft.traceparent or record[6]
  local what = draft.terminal and '' or (attempt .. '/' .. draft.number)
  local function with(labels)
    return '{"id":"' .. uuid5(id .. '/' .. run .. '/' .. draft.event_type .. '/' .. what)
      .. '","sequence":"' .. string.format('%010d', sequence) .. '",' .. string.sub(draft.envelope, 2, -2)
      .. (traceparent and ',"traceparent":"' .. traceparent .. '"' or '')
      .. ',"data":{' .. (tenant and '"tenant":"' .. tenant .. '",' or '') .. '"labels":' .. labels .. ',"run":' .. run
      .. ',"attempt":' .. attempt .. (draft.data == '{}' and '' or ',') .. string.sub(draft.data, 2) .. '}'
  end
  local event = with(record[5] or labels_of(id))
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

-- A stream takes 4 kB at once, for events that may come; its copy takes what is in it. Most jobs wait, and are remembered,
-- far longer than they are painted. A user who may not copy, or rename, moves on.
local function slim(key)
  if redis.pcall('COPY', key, SLIM_KEY, 'REPLACE') ~= 1 then return end
  if redis.pcall('RENAME', SLIM_KEY, key).err then redis.call('DEL', SLIM_KEY) end
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
