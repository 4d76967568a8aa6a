"""Clusters that jobs share: made, kept as they are wanted, suspended while nobody uses them, woken by a submit.

What decides is pure (`decide`, `share`); one loop of effects (`loop`) on the holder of the lease; `desk` is what people
do with them.
"""
