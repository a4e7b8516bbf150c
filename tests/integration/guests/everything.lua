-- A little of all that Lua has. It prints the same wherever it runs: nothing here depends on time or place.

local function sum(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b * 65536 + a
end

print(_VERSION, #arg, arg[1], arg[2])

-- strings
local words = {}
for i = 1, 20000 do
  words[i] = string.format("%05d:%s", i * 7919 % 20011, ("x"):rep(i % 17))
end
table.sort(words, function(a, b) return a > b end)
print("sorted", #words, words[1], words[#words], sum(table.concat(words, ",")))
print(("%q %s %10.4f %x %g %a"):format("a\n\"b\"\0c", nil, math.pi, 48879, 1e15, 0.1))
print(("the quick brown fox"):gsub("(%w+)", function(w) return w:upper():reverse() end))
for key, value in ("a=1, b=22, c=333"):gmatch("(%w+)=(%w+)") do io.write(key, "->", value, ";") end
print(("hello world"):find("o w", 1, true), ("  trim "):match("^%s*(.-)%s*$") .. "|", utf8.char(228, 8364, 128512))
print(string.pack("<i4 z d", -7, "text", 0.1):byte(1, -1))
print(#string.rep("ab", 1000, "-"), ("x"):rep(0) == "", tostring(1e100), 2^53, 10 // 3, -10 // 3, -10 % 3, 7 // 0.0)

-- numbers
print(math.maxinteger, math.mininteger, math.maxinteger + 1 == math.mininteger, 1 / 0, -1 / 0, 0 / 0 ~= 0 / 0)
print(1e308 * 10, 5 // 0.3, 2^0.5, math.sqrt(2), math.sin(1), math.exp(1), math.log(10), math.fmod(-7, 3))
print(3 | 4, 7 & 2, 5 ~ 1, ~0, 1 << 62, 1 >> 1, "10" + 5, 10 == 10.0, math.type(1), math.type(1.0), 0x7fp-3)
math.randomseed(42)
local drawn = {}
for i = 1, 5 do drawn[i] = math.random(1000000) end
print("random", table.concat(drawn, " "))
local pi = 0
for i = 0, 200000 do pi = pi + (i % 2 == 0 and 4 or -4) / (2 * i + 1) end
print(("%.15f"):format(pi))

-- closures, tables, metatables
local function counter()
  local n = 0
  return function() n = n + 1; return n end
end
local a, b = counter(), counter()
print(a(), a(), b(), a())
local Vector = {}
Vector.__index = Vector
Vector.__add = function(u, v) return setmetatable({x = u.x + v.x, y = u.y + v.y}, Vector) end
Vector.__eq = function(u, v) return u.x == v.x and u.y == v.y end
Vector.__tostring = function(v) return "(" .. v.x .. ", " .. v.y .. ")" end
Vector.__lt = function(u, v) return u.x < v.x end
Vector.__call = function(v, k) return v.x * k end
Vector.__close = function() print("closed") end
local v = setmetatable({x = 1, y = 2}, Vector)
print(tostring(v + v), v == setmetatable({x = 1, y = 2}, Vector), v < v + v, v(9))
do local guard <close> = v end
print(select("#", table.unpack({}, 1, 100)), select(-1, 1, 2, 3), table.unpack({1, 2, nil, 4}, 1, 4))
local keys = {}
for key in pairs({one = 1, two = 2, three = 3, [4] = 4, [5.5] = 5}) do keys[#keys + 1] = tostring(key) end
table.sort(keys)
print(table.concat(keys, " "), #table.move({1, 2, 3}, 1, 3, 3))

-- coroutines
local function numbers(from, to)
  return coroutine.wrap(function() for i = from, to do coroutine.yield(i) end end)
end
local total = 0
for i in numbers(1, 50000) do total = total + i end
print("coroutine", total)
local ring = {}
for i = 1, 500 do
  ring[i] = coroutine.create(function(x) while true do x = coroutine.yield(x + i) end end)
end
local value = 0
for _ = 1, 20 do
  for i = 1, #ring do
    local ok
    ok, value = coroutine.resume(ring[i], value)
    assert(ok)
  end
end
print("ring", value, coroutine.status(ring[1]), coroutine.isyieldable())
print(coroutine.resume(coroutine.create(function() error("inside") end)))
print(coroutine.close(ring[1]), coroutine.status(ring[1]))

-- errors
print(pcall(error, {code = 1}) == false, select(2, pcall(error, "plain", 0)), pcall(function() return 1 + {} end))
print(select(2, pcall(function() local t; return t.x end)), (select(2, pcall(string.rep, "x", 1e10))))
print(xpcall(function() error("deep") end, function(m) return m:upper() end))
local function endless(n) return 1 + endless(n + 1) end
local ok, why = pcall(endless, 1)
print(ok, why:match("stack overflow"))
print(load("return 1 +"))
print(load("return ... * 2")(21), #string.dump(function() return 1 end) > 0)
print(tostring(nil), tostring(true), rawequal("a", "a"), rawlen({1, 2}), next({}))

-- garbage
local weak = setmetatable({}, {__mode = "v"})
local finished = 0
for i = 1, 2000 do
  weak[i] = setmetatable({}, {__gc = function() finished = finished + 1 end})
end
collectgarbage()
collectgarbage()
local left = 0
for _ in pairs(weak) do left = left + 1 end
print("garbage", left, finished, collectgarbage("count") > 0)
for _, mode in ipairs({"generational", "incremental"}) do
  collectgarbage(mode)
  local t = {}
  for i = 1, 200000 do t[i % 1000] = {i, tostring(i)} end
  print(mode, t[7][1], t[999][2])
end

-- files: one that is there, and none
print(io.open("missing.lua"))
local own = assert(io.open(arg[0])):read("a")
print("source", #own, sum(own), io.lines(arg[0])())
io.write("done\n")
io.stdout:flush()
io.stderr:write("to the other stream\n")
os.exit(7)
