"""A job in the words of Ray's Jobs API: its body, its packages, its states, and the HTTP client that carries them.

Knows Ray's REST API, and no place where Ray might run.
"""
