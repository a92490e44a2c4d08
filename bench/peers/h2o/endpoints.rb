# The endpoints as a Rack application for h2o's mruby.
TEXT = { 'content-type' => 'text/plain' }
JSON_TYPE = { 'content-type' => 'application/json' }
ITEMS = JSON.parse(File.open('@DATASET@') { |file| file.read })

def numbers(query)
  found = Hash.new(0)
  query.split('&').each do |pair|
    name, value = pair.split('=')
    found[name] = value.to_i
  end
  found
end

def page(count, multiplier)
  count = [count, ITEMS.length].min
  items = ITEMS[0, count].map do |item|
    item.merge({ 'total' => item['price'] * item['quantity'] * multiplier })
  end
  JSON.generate({ 'items' => items, 'count' => count })
end

Proc.new do |env|
  path = env['PATH_INFO']
  query = numbers(env['QUERY_STRING'])
  body = env['rack.input']
  case path
  when '/plaintext' then [200, TEXT, ['Hello, World!']]
  when '/pipeline' then [200, TEXT, ['ok']]
  when '/json' then [200, JSON_TYPE, [JSON.generate({ 'message' => 'Hello, World!' })]]
  when '/baseline11'
    sum = query['a'] + query['b']
    sum += body.read.to_i if env['REQUEST_METHOD'] == 'POST'
    [200, TEXT, [sum.to_s]]
  else
    if path.start_with?('/json/')
      [200, JSON_TYPE, [page(path[6, path.length].to_i, query['m'])]]
    else
      [404, TEXT, ['']]
    end
  end
end
