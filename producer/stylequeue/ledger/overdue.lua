-- What the keeper has to look at: running jobs whose lease ran out, open jobs whose deadline passed, ended jobs of which
-- whoever ended them has not told for so long that they may be gone.
-- Returns {{ids}, {ids}, {ids}}.
redis.call('SET', KEEPER_KEY, now_ms, 'PX', limits.max_deadline_ms)
for state in pairs(TERMINAL) do trim(state) end
-- Indexes of which queues' jobs are counted follow from the others. What a version moves that knows nothing of them it
-- leaves behind there, and they are made anew; not too often, for that takes the longer the more jobs there are.
local ready, due = 0, redis.call('ZCARD', DUE_KEY)
local due_in_queues = 0
for _, queue in ipairs(arg.queues) do
  ready = ready + redis.call('ZCARD', ready_key(queue))
  due_in_queues = due_in_queues + redis.call('ZCARD', due_key(queue))
end
local agree = due == due_in_queues
  and ready + due + redis.call('ZCARD', WAITING_KEY) == redis.call('ZCARD', state_key('queued'))
if not agree and redis.call('SET', COUNTED_KEY, now_ms, 'NX', 'PX', arg.count_again_ms) then
  for _, queue in ipairs(arg.queues) do
    redis.call('ZDIFFSTORE', ready_key(queue), 4, queue_key(queue), DUE_KEY, WAITING_KEY, state_key('running'))
    redis.call('ZINTERSTORE', due_key(queue), 2, queue_key(queue), DUE_KEY, 'WEIGHTS', 0, 1)
  end
end
local function passed(index, by_ms) return redis.call('ZRANGEBYSCORE', index, '-inf', by_ms, 'LIMIT', 0, arg.count) end
return {passed(LEASES_KEY, now_ms), passed(DEADLINES_KEY, now_ms), passed(UNTOLD_KEY, now_ms - arg.told_within_ms)}
