-- Data listener, where tokens are asked for: large bodies, whatever the model.

function envoy_on_route()
  return "large-rest"
end
