"""Runs the commands of README.md and infra/tour.md unchanged, and compares their
output.

Starts the built local system on free ports, feeds every `sh` block to a shell, and
compares its output with the `text` block below it. Values that differ in each run
(ids, secrets, times) are compared by their format. Each page runs twice on the same
data, because a reader can repeat it.

    python3 tests/tour/run.py            # compare
    python3 tests/tour/run.py --update   # write the actual output into the pages
"""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = ROOT / "target" / "debug" / "local"
END = "--- end of block ---"

# The pages, and the headings before and after the commands.
PAGES = [(ROOT / "README.md", "## Try it with curl", "## Deploy"), (ROOT / "infra" / "tour.md", "# The tour", "## The API"), (ROOT / "infra" / "federation" / "other.md", "## Your own JWTs", "## Keys that Keyward cannot reach")]

# Patterns of values that differ in each run, and their replacements for the comparison.
FORMS = [
    (r"kwsa_local_\w+", "<key>"),
    (r"\bsa_\w{16}\b", "<account>"),
    (r"\bkey_\w{16}\b", "<key id>"),
    (r'"jwks":\{.*?\}\]\}', '"jwks":"<keys>"'),
    (r"kwst_local_\w+", "<token>"),
    (r"\btok_\w{16}\b", "<token id>"),
    (r"\bfid_\w{16}\b", "<identity id>"),
    (r'"hint":"\w{4}"', '"hint":"<hint>"'),
    (r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "<event>"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<instant>"),
    (r'"requestId":"[\w-]+"', '"requestId":"<request>"'),
    (r'"(nextCursor)":"[\w-]+"', r'"\1":"<cursor>"'),
    (r'"user-agent":"[^"]+"', '"user-agent":"<client>"'),
]


def form(text: str) -> str:
    for pattern, replacement in FORMS:
        text = re.sub(pattern, replacement, text)
    return text


def start(data: pathlib.Path) -> tuple[subprocess.Popen, dict]:
    ports = ["--port", "0", "--console-port", "0", "--issuer-port", "0", "--mcp-port", "0"]
    system = subprocess.Popen([SYSTEM, "--data", data, *ports], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    facts = data / "local.json"
    for _ in range(300):
        if facts.exists() and facts.read_text().endswith("}\n"):
            return system, json.loads(facts.read_text())
        if system.poll() is not None:
            break
        time.sleep(0.1)
    system.kill()
    sys.exit("target/debug/local did not start")


class Shell:
    """A shell for one run of a page. Replaces the URLs of the page by the actual ones."""

    def __init__(self, folder: str, facts: dict):
        self.urls = {"http://127.0.0.1:8080": facts["api"], "http://127.0.0.1:8082": facts["issuer"],
                     "http://127.0.0.1:8083": facts["mcp"].removesuffix("/mcp")}
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
        )

    def run(self, commands: str) -> str:
        for documented, actual in self.urls.items():
            commands = commands.replace(documented, actual)
        self.process.stdin.write(f"{commands}\necho '{END}'\n")
        self.process.stdin.flush()
        printed = ""
        for line in self.process.stdout:
            if line.strip() == END:
                break
            printed += line
        for documented, actual in self.urls.items():
            printed = printed.replace(actual, documented)
        return printed

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def blocks_of(page: pathlib.Path, first: str, last: str) -> list[re.Match]:
    text = page.read_text()
    start, end = text.index(f"{first}\n"), text.index(f"\n{last}\n")
    return list(re.compile(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.S).finditer(text, start, end))


def compare(page: pathlib.Path, blocks: list[re.Match], shell: Shell) -> int:
    failures = 0
    for block in blocks:
        printed = shell.run(block[1])
        if form(printed) != form(block[2] or ""):
            failures += 1
            print(f"{page.name}: these commands:\n{block[1]}\nprinted:\n{printed}\nexpected:\n{block[2]}")
    return failures


def update(page: pathlib.Path, blocks: list[re.Match], shell: Shell) -> None:
    text = page.read_text()
    for block in blocks:
        printed = shell.run(block[1])
        shown = f"```sh\n{block[1]}```\n" + (f"\n```text\n{printed}```\n" if printed else "")
        text = text.replace(block[0], shown, 1)
    page.write_text(text)


def main() -> None:
    is_update = "--update" in sys.argv[1:]
    compared, failures = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        system, facts = start(pathlib.Path(folder) / ".keyward")
        try:
            for page, first, last in PAGES:
                blocks = blocks_of(page, first, last)
                for _ in range(1 if is_update else 2):
                    shell = Shell(folder, facts)
                    if is_update:
                        update(page, blocks, shell)
                    else:
                        compared, failures = compared + len(blocks), failures + compare(page, blocks, shell)
                    shell.close()
        finally:
            system.send_signal(signal.SIGINT)
            status = system.wait()
    if status != 0:
        sys.exit(f"target/debug/local ended with status {status}")
    if not is_update:
        print(f"{compared - failures} passed, {failures} failed")
        sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
