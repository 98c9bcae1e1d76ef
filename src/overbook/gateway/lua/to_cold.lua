-- Data listener, where tokens are asked for: what takes a closer look, whatever the model.

function envoy_on_route()
  return "cold-rest"
end
