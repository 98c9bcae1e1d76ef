-- Cold listener: goes to the cluster that the activation service named. Envoy acknowledges a new cluster
-- before each of its worker threads has it: a request that is faster asks once more (hops are counted).

function envoy_on_route(handle)
  local headers = handle:headers()
  local cluster = headers:get("x-overbook-cluster")
  if cluster ~= nil and handle:getCluster(cluster) ~= nil then
    return cluster
  end
  if string.sub(headers:get("content-type") or "", 1, 16) == "application/grpc" then
    return "cold-grpc"
  end
  return "cold-rest"
end
