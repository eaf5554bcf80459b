"""Compares the pages that the stories looked at with the routes of the console's router."""

from __future__ import annotations

import pathlib
import re

PAGES = pathlib.Path(__file__).resolve().parents[2] / "functions" / "console" / "src" / "pages"

# Routes that respond with no page: redirects of the sign-in, and files.
WITHOUT_PAGE = re.compile(r"/sign-in|/callback|/assets/.*|.*/export")


def routes() -> list[str]:
    """The paths of all pages, from the source of the router."""
    found = []
    for route in (PAGES / "mod.rs").read_text().split(".route(")[1:]:
        path, handlers = (part.strip() for part in route.split(",", 1))
        if path == "CALLBACK":
            path = "/callback"
        elif path.startswith('"'):
            path = path.strip('"')
        else:
            module = (PAGES / f"{path.split('::')[0]}.rs").read_text()
            path = re.search(r'const PATH: &str = "([^"]+)"', module)[1]
        # `redirect` handles the address of a form that is opened as a page.
        if re.search(r"get\((?!\w+::redirect)", handlers) and not WITHOUT_PAGE.fullmatch(path):
            found.append(path)
    return found


def route_of(path: str, known: list[str]) -> str | None:
    """The route of an address: the one with the fewest parameters."""
    path = path.split("?")[0].split("#")[0]
    matching = [route for route in known if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path)]
    return min(matching, key=lambda route: route.count("{"), default=None)
