"""What stands between the network and the control API: whose requests are let in, and how much of them is taken.

ASGI middleware, and what it decides by, as functions of values. Nothing here knows a Model, a Server or the actor;
what is let through is answered by `api`. `guarded` puts all of it together.
"""
