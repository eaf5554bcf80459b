"""Checks and their results."""

passed: list[str] = []
failed: list[str] = []


def check(what: str, actual: object, expected: object = True) -> None:
    """Prints the result of one check. The test continues after a failure."""
    good = actual == expected
    (passed if good else failed).append(what)
    print(f"{'ok    ' if good else 'FAILED'} {what}" + ("" if good else f": got {actual!r}, expected {expected!r}"), flush=True)
