"""The decisions, and the loop that carries them out.

Pure functions decide (decide, schedule, explain); the reconciler performs. No framework, no SQL, no Ray here.
"""
