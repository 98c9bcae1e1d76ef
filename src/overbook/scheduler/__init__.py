"""Owns desired state: what is registered, where it is assigned, and what people and the other parts are told.

Lives here: the durable store, the state (`state`), the actor that is their only writer, the gRPC service
and the control API. Must not live here: anything in the path of a request, loading or unloading, and
what an inference server is like.
"""
