"""The laws of memory of one server replica, as a pure state machine: ``handle(event, now) -> effects``.

Events and effects are values; time is an argument. No clock, socket, log or await may live here. The agent
performs the effects and reports what happened as further events; the simulator and the tests do the same.
"""
