"""Checks and their results."""

import time

passed: list[str] = []
failed: list[str] = []
started = time.monotonic()


def check(what: str, actual: object, expected: object) -> None:
    """Prints the result of one check. The test continues after a failure."""
    good = actual == expected
    (passed if good else failed).append(what)
    print(f"{'ok    ' if good else 'FAILED'} {what}" + ("" if good else f": got {actual!r}, expected {expected!r}"), flush=True)


def finish() -> None:
    print(f"\nIt took {time.monotonic() - started:.0f} s.\n{len(passed)} passed, {len(failed)} failed")
    raise SystemExit(1 if failed else 0)
