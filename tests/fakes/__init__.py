"""Stand-ins that keep the real ones' ordering and can fail. Production code never imports them."""
