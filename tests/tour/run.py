"""Runs the tour of README.md, word for word, and compares what it prints.

Starts the built local system on free ports, feeds every `sh` block of the tour
to one shell, and compares its output with the `text` block below it. What
differs in each run (ids, secrets, instants) is compared by its form.

    python3 tests/tour/run.py            # compare
    python3 tests/tour/run.py --update   # write what was really printed
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
README = ROOT / "README.md"
SYSTEM = ROOT / "target" / "debug" / "local"
END = "--- end of block ---"

# What differs in each run, and what stands in its place in a comparison.
FORMS = [
    (r"kwsa_local_\w+", "<key>"),
    (r"\bsa_\w{16}\b", "<account>"),
    (r"\bkey_\w{16}\b", "<key id>"),
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


def start(data: pathlib.Path) -> tuple[subprocess.Popen, str]:
    ports = ["--port", "0", "--console-port", "0", "--issuer-port", "0"]
    system = subprocess.Popen([SYSTEM, "--data", data, *ports], stderr=subprocess.DEVNULL)
    facts = data / "local.json"
    for _ in range(300):
        if facts.exists() and facts.read_text().endswith("}\n"):
            return system, json.loads(facts.read_text())["api"]
        if system.poll() is not None:
            break
        time.sleep(0.1)
    system.kill()
    sys.exit("the system does not start")


def main() -> None:
    update = "--update" in sys.argv[1:]
    page = README.read_text()
    tour_start = page.index("## A tour")
    tour_end = page.index("\n## ", tour_start + 1)
    tour = page[tour_start:tour_end]
    blocks = list(re.finditer(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", tour, re.S))
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / ".keyward"
        system, api = start(data)
        shell = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
        )
        failures = 0
        try:
            for block in blocks:
                commands = block[1].replace("http://127.0.0.1:8080", api)
                shell.stdin.write(f"{commands}\necho '{END}'\n")
                shell.stdin.flush()
                printed = ""
                for line in shell.stdout:
                    if line.strip() == END:
                        break
                    printed += line
                printed = printed.replace(api, "http://127.0.0.1:8080")
                if not update and form(printed) == form(block[2] or ""):
                    continue
                failures += 1
                if update:
                    old = block[0]
                    tour = tour.replace(old, f"```sh\n{block[1]}```\n\n```text\n{printed}```\n" if printed else old)
                else:
                    print(f"These commands:\n{block[1]}\nprint:\n{printed}\nand not:\n{block[2]}")
        finally:
            shell.stdin.close()
            shell.wait()
            system.send_signal(signal.SIGINT)
            status = system.wait()
    if update:
        README.write_text(page[:tour_start] + tour + page[tour_end:])
        return
    if status != 0:
        sys.exit(f"the system ended with {status}")
    if failures:
        sys.exit(f"{failures} of {len(blocks)} blocks of the tour print something else")
    print(f"{len(blocks)} passed, 0 failed")


if __name__ == "__main__":
    main()
