-- The endpoints that a request head alone can answer.
local request = lighty.r
local path = request.req_attr["uri.path"]
local header = request.resp_header

local function text(body)
    header["Content-Type"] = "text/plain"
    request.resp_body:set({ body })
    return 200
end

local function number(name)
    local query = request.req_attr["uri.query"] or ""
    return tonumber(query:match("%f[%w]" .. name .. "=(%-?%d+)")) or 0
end

if path == "/plaintext" then
    return text("Hello, World!")
elseif path == "/pipeline" then
    return text("ok")
elseif path == "/baseline11" and request.req_attr["request.method"] == "GET" then
    return text(string.format("%d", number("a") + number("b")))
end
return 404
