-- A consumer of a group takes the next events of the deployment, and lets go of those that it has handled.
-- `after`: behind which position a new group begins ("": behind the newest). `done`: positions of what is handled.
-- `own`: first what this consumer had taken and never let go, in an earlier life. `idle_ms`: what others have had for so
-- long comes before what is new, too (0: nobody looks). What was taken `max_times` already becomes a dead letter
-- instead (0: nothing does).
-- Returns {lost, reclaimed, behind, {position, event, tenant, notify} ...}: `lost` of the events that the group has not
-- read, or not handled, are kept no longer (-1: some); `behind` is how far it has read.
local group, consumer, lost, unread = arg.group, arg.consumer, 0, 0

-- An answer of names and values in turn, as a table.
local function named(flat)
  local found = {}
  for n = 1, #flat, 2 do found[flat[n]] = flat[n + 1] end
  return found
end

local function earlier(one, other)
  local one_ms, one_number = string.match(one, '(%d+)-(%d+)')
  local other_ms, other_number = string.match(other, '(%d+)-(%d+)')
  if one_ms ~= other_ms then return tonumber(one_ms) < tonumber(other_ms) end
  return tonumber(one_number) < tonumber(other_number)
end

local function entry(position, fields)
  local found = named(fields)
  return {position, found.event or '', found.tenant or '', found.notify or ''}
end

local function look_up()
  if redis.call('EXISTS', EVENTS_KEY) == 0 then return nil end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', EVENTS_KEY)) do
    local found = named(flat)
    if found.name == group then return found end
  end
end

local stream = redis.call('EXISTS', EVENTS_KEY) == 1 and named(redis.call('XINFO', 'STREAM', EVENTS_KEY)) or {length = 0}
-- Servers before Redis 7 do not say how many there ever were, and of how many a group has heard.
local trimmed = stream['entries-added'] and stream['entries-added'] - stream.length
local first = stream['first-entry'] and stream['first-entry'][1]

local here = look_up()
if not here then
  local after, read = arg.after, nil
  if after == '' then
    after, read = stream['last-generated-id'] or '0-0', stream['entries-added'] or 0
  elseif after == '0-0' then
    read = trimmed or 0
  elseif first and earlier(after, first) then
    unread = -1
  end
  local made = {'XGROUP', 'CREATE', EVENTS_KEY, group, after, 'MKSTREAM'}
  if read and (trimmed or stream.length == 0) then
    local told = redis.pcall(made[1], made[2], made[3], made[4], made[5], made[6], 'ENTRIESREAD', read)
    if told.err then redis.call(unpack(made)) end
  else
    redis.call(unpack(made))
  end
  here = look_up()
elseif first and earlier(here['last-delivered-id'], first) then
  if trimmed and here['entries-read'] then
    unread = math.max(0, trimmed - here['entries-read'])
  elseif here['last-delivered-id'] ~= '0-0' then
    unread = -1
  end
end

if #arg.done > 0 then redis.call('XACK', EVENTS_KEY, group, unpack(arg.done)) end

local taken = {}
local function take_again(rows, idle_ms)
  for _, row in ipairs(rows) do
    local position, times = row[1], row[4]
    local there = redis.call('XRANGE', EVENTS_KEY, position, position)[1]
    if not there then
      redis.call('XACK', EVENTS_KEY, group, position)
      lost = lost + 1
    elseif arg.max_times > 0 and times >= arg.max_times then
      bury('event:' .. group .. ':' .. position, {kind = 'event', queue = group, code = 'event_not_handled',
        reason = 'consumers took it ' .. times .. ' times and were not done with it', attempts = times,
        message = named(there[2]).event or ''})
      redis.call('XACK', EVENTS_KEY, group, position)
    elseif #taken < arg.count then
      redis.call('XCLAIM', EVENTS_KEY, group, consumer, idle_ms, position)
      table.insert(taken, entry(position, there[2]))
    end
  end
end

if arg.own then take_again(redis.call('XPENDING', EVENTS_KEY, group, '-', '+', arg.look_at, consumer), 0) end
if arg.idle_ms > 0 then
  take_again(redis.call('XPENDING', EVENTS_KEY, group, 'IDLE', arg.idle_ms, '-', '+', arg.look_at), arg.idle_ms)
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', EVENTS_KEY, group)) do
    local other = named(flat)
    -- One that goes takes what it holds along: nobody would ever hear of that again.
    if other.pending == 0 and other.idle > arg.forget_ms and other.name ~= consumer then
      redis.call('XGROUP', 'DELCONSUMER', EVENTS_KEY, group, other.name)
    end
  end
end
local reclaimed = #taken
if reclaimed == 0 then
  -- The group reads past them now: nobody is told of them twice.
  lost = unread < 0 and -1 or lost + unread
  local new = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', arg.count, 'STREAMS', EVENTS_KEY, '>')
  for _, there in ipairs(new and new[1][2] or {}) do
    table.insert(taken, entry(there[1], there[2]))
    here['last-delivered-id'] = there[1]
  end
end
return {lost, reclaimed, here['last-delivered-id'], unpack(taken)}
