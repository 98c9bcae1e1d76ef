"""Who may do what: tokens, the roles that they give, and what each role may.

Pure: values in, verdicts out; time is an argument. Must not live here: where tokens are kept, how requests carry them,
and what a refusal looks like to a client; the scheduler and the gateway each have that on their side.
"""
