"""What sources want to be told before they give anything: whose secrets there are, and what is in one.

Nothing here may write a secret into a log, an error or a file; no source may be asked here.
"""
