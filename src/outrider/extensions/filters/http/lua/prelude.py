"""The Lua side: classes of objects whose methods are Python functions, and coroutines.

An object is a table that holds its Python counterpart. It is usable while the run of the script that made it is
active: each time the script waits or ends, the run's generation moves on, and older objects refuse to work, as in
Envoy. A method of a stream handle may wait: it yields, and asks for the outcome when it is resumed. That cannot be
done from Python, through which LuaJIT cannot yield.
"""

from typing import Final

PRELUDE: Final = b"""
local failed, wait = ...
local create, resume, yield, status = coroutine.create, coroutine.resume, coroutine.yield, coroutine.status
local getmetatable, setmetatable, type, error, plain_pairs = getmetatable, setmetatable, type, error, pairs
local classes, take = {}, nil

python = nil
package.loaded.python = nil

EnvoyTimestampResolution = {MILLISECOND = 0, MICROSECOND = 1}

-- LuaJIT built without the 5.2 extensions does not know __pairs.
function pairs(object)
  local meta = getmetatable(object)
  if type(meta) == "table" and meta.__pairs then
    return meta.__pairs(object)
  end
  return plain_pairs(object)
end

local function new_class(name)
  local meta = {methods = {}, name = name}
  meta.__index = meta.methods
  classes[meta] = true
  return meta
end

local function add_method(meta, name, call)
  local label = meta.name
  local waits = label == "handle"
  local function method(self, ...)
    if getmetatable(self) ~= meta then
      error("bad argument #1 to '" .. name .. "' (" .. label .. " expected)", 2)
    end
    local life = self.life
    if not life.live or (self.generation and self.generation ~= life.generation) then
      error("object used outside of proper scope", 2)
    end
    local first, second = call(self.object, ...)
    if waits and second == wait then
      yield()
      first, second = take(self.object)
    end
    if second == nil then
      return first
    end
    if second == failed then
      error(first, 2)
    end
    if classes[second] then
      return setmetatable({object = first, life = life, generation = life.generation}, second)
    end
    return first, second
  end
  meta.methods[name] = method
end

local function add_pairs(meta, begin, step)
  meta.methods.__pairs = nil
  add_method(meta, "begin_iteration", begin)
  add_method(meta, "next_entry", step)
  local start, advance = meta.methods.begin_iteration, meta.methods.next_entry
  meta.methods.begin_iteration, meta.methods.next_entry = nil, nil
  meta.__pairs = function(self)
    start(self)
    return function() return advance(self) end
  end
end

local function add_chunks(meta, begin, step)
  add_method(meta, "bodyChunks", begin)
  add_method(meta, "next_chunk", step)
  local start, advance = meta.methods.bodyChunks, meta.methods.next_chunk
  meta.methods.next_chunk = nil
  meta.methods.bodyChunks = function(self)
    start(self)
    return function() return advance(self) end
  end
end

local function new_run(call, object, meta)
  local life = {live = false, generation = 1}
  return {thread = create(call), life = life, handle = setmetatable({object = object, life = life}, meta)}
end

local function advance(run)
  local life = run.life
  life.live = true
  local ok, problem = resume(run.thread, run.handle)
  life.live = false
  life.generation = life.generation + 1
  if not ok then
    return "error", problem
  end
  return status(run.thread) == "dead" and "done" or "waiting"
end

local function load(code)
  local chunk, problem = loadstring(code)
  if not chunk then
    return problem
  end
  local ok, raised = pcall(chunk)
  if not ok then
    return raised == nil and "nil" or raised
  end
end

local function set_take(call) take = call end
local function global(name) return _G[name] end
local function prepend(paths, cpaths)
  if paths then package.path = paths .. ";" .. package.path end
  if cpaths then package.cpath = cpaths .. ";" .. package.cpath end
end

return new_class, add_method, add_pairs, add_chunks, new_run, advance, load, set_take, global, prepend
"""
