-- How many jobs wait in a queue before each of some of its own; 0 before one that is not there. It reads only.
local queue = queue_key(arg.queue)
-- What runs stands in the queue as well.
local running = {}
for _, id in ipairs(redis.call('ZRANGE', state_key('running'), 0, arg.most_running - 1)) do
  running[#running + 1] = redis.call('ZRANK', queue, id) or nil
end
table.sort(running)
local waiting = {}
for n, id in ipairs(arg.ids) do
  local place, before = redis.call('ZRANK', queue, id) or 0, 0
  while running[before + 1] and running[before + 1] < place do before = before + 1 end
  waiting[n] = place - before
end
return waiting
