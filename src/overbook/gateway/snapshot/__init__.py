"""Pure: what Envoy is told, as values computed from values.

Names, the bootstrap document (listeners and routes never change while Envoy runs) and the clusters
(the only thing that does change). No socket, file, clock or log may live here.
"""
