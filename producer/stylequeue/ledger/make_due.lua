-- Somebody misses the messages of queued jobs: fresh ones are due now.
for _, id in ipairs(arg.ids) do
  if redis.call('HGET', record_key(id), 'state') == 'queued' then
    make_due(id, now_ms)
  else
    -- A version that knows nothing of this index left it there. Without it the counts differ, and are made anew.
    for _, queue in ipairs(arg.queues) do redis.call('ZREM', ready_key(queue), id) end
  end
end
return 'due'
