"""Fakes of the ports, shipped, and held to the same contract suites as the real ones."""
