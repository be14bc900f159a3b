-- What jobs in a queue wait for, behind common.lua: their turn, a moment, another's picture, a worker with their network.

-- A fresh message of a queued job is sent from this moment on; of one whose record is gone there is none.
local function make_due(id, at_ms)
  local queue = redis.call('HGET', record_key(id), 'queue')
  if not queue then return end
  redis.call('ZADD', DUE_KEY, at_ms, id)
  redis.call('ZADD', due_key(queue), at_ms, id)
  redis.call('ZREM', ready_key(queue), id)
end

-- No fresh message is sent. Returns whether one was to be.
local function not_due(id)
  local was_due = redis.call('ZREM', DUE_KEY, id) == 1
  if was_due then redis.call('ZREM', due_key(redis.call('HGET', record_key(id), 'queue') or ''), id) end
  return was_due
end

-- A queued job waits without a message, until something wakes it.
local function park(id)
  not_due(id)
  local queue = redis.call('HGET', record_key(id), 'queue')
  if not queue then return end
  redis.call('ZREM', ready_key(queue), id)
  redis.call('ZADD', WAITING_KEY, now_ms, id)
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
  while count > 0 do
    local id = redis.call('SRANDMEMBER', waiters_key(fingerprint))
    if not id then return end
    redis.call('SREM', waiters_key(fingerprint), id)
    stop_waiting(id)
    -- One whose record is gone would wake nobody.
    if redis.call('EXISTS', record_key(id)) == 1 then
      redis.call('HSET', record_key(id), 'woken_for', fingerprint)
      make_due(id, now_ms)
      count = count - 1
    end
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
