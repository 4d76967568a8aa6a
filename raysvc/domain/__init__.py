"""The words of raysvc and their rules.

Belongs here: frozen pydantic types, enums, state machines, and pure functions over them.
Does not: I/O, a clock, randomness, asyncio, or any library but pydantic. One type is wire format, stored form and
Python type at once.
"""
