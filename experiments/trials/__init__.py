"""Trials: what becomes of a training when something goes wrong.

Each trial starts the real programs on a tiny training in a directory of its own, does something
to them or to their files, and starts the same command again. A trial is survived if the end is,
bit for bit, that of a training that nothing happened to, or if the program refuses in one line
that names the file; it never is with a traceback, with exit code 0 and another result, or with a
file of the user's gone.
"""
