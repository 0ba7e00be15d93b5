"""Process set-up, devices and provenance, and what makes training fast on a CPU."""
