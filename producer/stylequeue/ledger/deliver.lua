-- Makes deliveries of events. One that there is already stays as it is; `again`: unless it has not been delivered, which
-- is sent anew, and whoever was not to have it before has it now.
-- `events`: each with its id, text, type, job, endpoint, when it happened (`at_ms`) and whether the job names the endpoint.
-- An endpoint hears of what happened since it is known; of what names it, whenever that was. One that is disabled hears
-- nothing. Where there are too many deliveries the oldest go.
-- Returns how many are to be sent.
local count = 0
for _, event in ipairs(arg.events) do
  local endpoint, id = event.endpoint, event.id
  local key = delivery_of(endpoint, id)
  redis.call('HSETNX', endpoint_key(endpoint), 'since_ms', now_ms)
  local known = redis.call('HMGET', endpoint_key(endpoint), 'since_ms', 'disabled')
  local wanted = arg.again or event.named or event.at_ms >= tonumber(known[1])
  if wanted and (arg.again or not known[2]) then
    local state = redis.call('HGET', key, 'state')
    if not state then
      redis.call('HSET', key, 'id', id, 'endpoint', endpoint, 'event', event.event, 'type', event.type, 'job', event.job,
        'made_ms', now_ms, 'attempts', '')
      redis.call('PEXPIRE', key, arg.kept_ms)
      redis.call('ZADD', deliveries_key(endpoint), now_ms, id)
    end
    if not state or (arg.again and state ~= 'delivered' and not redis.call('ZSCORE', sending_key(endpoint), id)) then
      send_anew(endpoint, id)
      count = count + 1
    end
    for _, old in ipairs(redis.call('ZRANGEBYSCORE', deliveries_key(endpoint), '-inf', now_ms - arg.kept_ms)) do
      forget(endpoint, old)
    end
    local over = redis.call('ZCARD', deliveries_key(endpoint)) - arg.max_deliveries
    for _, old in ipairs(over > 0 and redis.call('ZRANGE', deliveries_key(endpoint), 0, over - 1) or {}) do
      if redis.call('HGET', delivery_of(endpoint, old), 'state') == 'pending' then
        redis.call('HINCRBY', endpoint_key(endpoint), 'dropped', 1)
      end
      forget(endpoint, old)
    end
  end
  keep(endpoint)
end
return count
