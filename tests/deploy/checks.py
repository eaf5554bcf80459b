"""The lines of a test, and what came of them."""

import time

passed: list[str] = []
failed: list[str] = []
started = time.monotonic()


def check(what: str, actual: object, expected: object) -> None:
    """One line. The test goes on after a failure."""
    good = actual == expected
    (passed if good else failed).append(what)
    print(f"{'ok    ' if good else 'FAILED'} {what}" + ("" if good else f": {actual!r} and not {expected!r}"), flush=True)


def finish() -> None:
    print(f"\nIt took {time.monotonic() - started:.0f} s.\n{len(passed)} passed, {len(failed)} failed")
    raise SystemExit(1 if failed else 0)
