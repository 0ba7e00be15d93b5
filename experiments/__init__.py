"""Experiments: suites, their runner, the faults they inject, and the tables of the docs."""
