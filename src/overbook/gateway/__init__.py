"""The gateway: Envoy as the data plane and the controller beside it.

Hot requests never pass through Python. What Envoy is told is pure (`snapshot`); the rest of the
folder is a shell around it: the Envoy process, its xDS server, the activation service that Envoy
asks about cold models, the streams to the agents, and the usage meter. Start at `part`.
"""
