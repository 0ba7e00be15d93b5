"""Damage to files."""


def rewrite(path, change):
    """Replaces the content of a file, a bytearray, by what a function makes of it."""
    with open(path, "rb") as file:
        content = bytearray(file.read())
    with open(path, "wb") as file:
        file.write(change(content))
