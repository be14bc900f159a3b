-- What the moves of deliveries share, behind common.lua. A delivery is one event for one endpoint.

local function delivery_of(endpoint, event_id) return delivery_key(endpoint .. ':' .. event_id) end

local function letter_of(endpoint, event_id) return 'delivery:' .. endpoint .. ':' .. event_id end

-- All that is kept of an endpoint goes when nobody has looked at it for so long.
local function keep(endpoint)
  for _, key in ipairs({endpoint_key, deliveries_key, to_send_key, sending_key}) do
    redis.call('PEXPIRE', key(endpoint), arg.kept_ms)
  end
end

local function forget(endpoint, event_id)
  redis.call('DEL', delivery_of(endpoint, event_id))
  for _, index in ipairs({deliveries_key, to_send_key, sending_key}) do redis.call('ZREM', index(endpoint), event_id) end
end

-- Has a delivery sent from now on, by the whole schedule.
local function send_anew(endpoint, event_id)
  local key = delivery_of(endpoint, event_id)
  if redis.call('HGET', key, 'state') == 'given_up' then unbury(letter_of(endpoint, event_id)) end
  redis.call('HSET', key, 'state', 'pending', 'tries', 0, 'next_ms', now_ms)
  redis.call('ZADD', to_send_key(endpoint), now_ms, event_id)
end
