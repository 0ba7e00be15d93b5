"""Speed measurements: rates as shares of what the machine can do."""
