"""The agent: owns one server replica. Its memory ledger and residency decisions (`actor` around
`overbook.residency`), its artifact cache (`artifacts`, `assignments`), its inference-server process
(`supervisor`, `servers`), and its talk with gateways (`service`, `followers`) and scheduler (`link`).

It knows no other replica, and imports neither scheduler nor gateway.
"""
