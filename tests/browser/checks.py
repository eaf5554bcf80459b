"""The lines of the story, and what came of each."""

passed: list[str] = []
failed: list[str] = []


def check(what: str, actual: object, expected: object = True) -> None:
    """One line of the story. It goes on after a failure."""
    good = actual == expected
    (passed if good else failed).append(what)
    print(f"{'ok    ' if good else 'FAILED'} {what}" + ("" if good else f": {actual!r} and not {expected!r}"), flush=True)
