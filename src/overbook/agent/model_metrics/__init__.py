"""What inference servers measure of their models, for the agent's page of metrics. No metric of our own lives here."""
