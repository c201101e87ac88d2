-- Appends events at once or not at all.
-- KEYS: the stream, the numbers, then for each event the key of its id (or the stream's, without one).
-- ARGV: the base of a new stream, the most events, how long ids are remembered (ms), then the events.
-- Returns how many were new.
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[2], 'base', ARGV[1], 'newest', ARGV[1])
end
local clock = redis.call('TIME')
local now = clock[1] .. string.format('%03d', math.floor(clock[2] / 1000))
local accepted = 0
for i = 3, #KEYS do
  if KEYS[i] == KEYS[1] or redis.call('SET', KEYS[i], '', 'NX', 'PX', ARGV[3]) then
    local position = redis.call('HINCRBY', KEYS[2], 'newest', 1)
    redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], string.format('%.0f-0', position), 'at', now, 'event', ARGV[i + 1])
    accepted = accepted + 1
  end
end
return accepted
