-- How many jobs wait in a queue before one of its own; 0 where it is not there. It reads only.
local queue = queue_key(arg.queue)
local place, since_ms = redis.call('ZRANK', queue, arg.id), tonumber(redis.call('ZSCORE', queue, arg.id))
local running = redis.call('ZRANGE', state_key('running'), 0, arg.most_running - 1)
if not place or #running == 0 then return place or 0 end
-- What runs stands in the queue as well.
for n, score in ipairs(redis.call('ZMSCORE', queue, unpack(running))) do
  local ms = tonumber(score)
  if ms and (ms < since_ms or (ms == since_ms and running[n] < arg.id)) then place = place - 1 end
end
return place
