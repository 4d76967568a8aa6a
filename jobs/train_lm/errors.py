"""What a program says when its user can put it right."""


class UsageProblem(Exception):
    """A setting or an input is wrong: the text says which, and what to do. Programs print it and exit with 2."""
