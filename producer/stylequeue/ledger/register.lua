-- A worker lives: it is on record for `lives_ms`. Some of the jobs that wait for what it has get a fresh message now,
-- unless it is drained: it would not take them, and they would go to sleep again.
-- `lacking`: those combinations of its queues and of networks that it can paint for.
-- Returns {how many jobs it woke, whether it is drained and how or '', queues that are paused ...}.
redis.call('SET', worker_key(arg.worker_name), arg.worker, 'PX', arg.lives_ms)
redis.call('ZREMRANGEBYSCORE', WORKERS_KEY, '-inf', now_ms)
redis.call('ZADD', WORKERS_KEY, now_ms + arg.lives_ms, arg.worker_name)
if redis.call('PTTL', WORKERS_KEY) < arg.lives_ms then redis.call('PEXPIRE', WORKERS_KEY, arg.lives_ms) end
local draining = redis.call('GET', drain_key(arg.worker_name)) or ''
local woken = 0
for _, which in ipairs(draining == '' and arg.lacking or {}) do
  for _, id in ipairs(redis.call('ZRANGE', lacking_key(which), 0, arg.wake - 1)) do
    redis.call('ZREM', lacking_key(which), id)
    if redis.call('HGET', record_key(id), 'state') == 'queued' then
      stop_waiting(id)
      make_due(id, now_ms)
      woken = woken + 1
    end
  end
end
-- It stays drained, under its name, for as long after it was last heard of.
redis.call('PEXPIRE', drain_key(arg.worker_name), arg.drain_ms)
return {woken, draining, unpack(redis.call('HKEYS', PAUSED_KEY))}
