"""Checks the functions that `cargo lambda build --release` built: that Lambda's glibc
is new enough, that they are small, and that infra/README.md has their sizes.

    python3 tests/deploy/sizes.py [--update] [FOLDER]

FOLDER is cargo-lambda's output folder, by default target/lambda. --update writes the
sizes of the built functions into infra/README.md, for their processor.
"""

import argparse
import io
import pathlib
import re
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "infra" / "README.md"
MARK = "<!-- tests/deploy/sizes.py --update writes this table. -->\n"
FUNCTIONS = sorted(folder.name for folder in (ROOT / "functions").iterdir() if folder.is_dir())

# https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html: the version in provided.al2023.
GLIBC = (2, 34)
# The limit of a function's zipped size, so that a dependency that is too large is noticed.
MAX_ZIPPED_MB = 6.0
# The largest allowed relative difference between the table and the actual size.
TOLERANCE = 0.15
PROCESSORS = {62: "x86_64", 183: "arm64"}


def megabytes(size: int) -> float:
    return round(size / 1e6, 1)


def zipped(binary: pathlib.Path) -> int:
    """The approximate size of the upload by `sam deploy` or `cargo lambda deploy`."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(binary, "bootstrap")
    return len(archive.getvalue())


def glibc(binary: pathlib.Path) -> tuple[int, ...]:
    """The newest version of glibc that the binary requires."""
    command = ["readelf", "--version-info", "--wide", binary]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    versions = re.findall(r"Name: GLIBC_([\d.]+)", text)
    return max(tuple(int(part) for part in version.split(".")) for version in versions)


def read_table(page: str) -> dict[str, list[str]]:
    """The table's cells by function: x86_64 zipped and unzipped, arm64 zipped and unzipped."""
    rows = page.partition(MARK)[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {cell[0]: cell[1:] for cell in cells}


def table(rows: dict[str, list[str]]) -> str:
    lines = ["| Function | x86_64, zipped | unzipped | arm64, zipped | unzipped |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join([name, *cells])} |" for name, cells in rows.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--update", action="store_true")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "target" / "lambda")
    arguments = parser.parse_args()
    update = arguments.update
    page = PAGE.read_text()
    stated, rows, problems = read_table(page), {}, []
    for name in FUNCTIONS:
        binary = arguments.folder / name / "bootstrap"
        rows[name] = stated.get(name, ["–"] * 4)
        if update and not binary.exists():
            continue
        if not binary.exists():
            sys.exit(f"{name} is not built: cargo lambda build --release -p {name}")
        processor = PROCESSORS[int.from_bytes(binary.read_bytes()[18:20], "little")]
        sizes = [megabytes(zipped(binary)), megabytes(binary.stat().st_size)]
        print(f"{name}, {processor}: {sizes[0]} MB zipped, {sizes[1]} MB unzipped")
        if glibc(binary) > GLIBC:
            problems.append(f"{name} needs a newer glibc than Lambda has: {glibc(binary)}")
        if sizes[0] > MAX_ZIPPED_MB:
            problems.append(f"{name} is larger than {MAX_ZIPPED_MB} MB zipped")
        at = 2 * list(PROCESSORS.values()).index(processor)
        cells = rows[name][at : at + 2]
        stated_mb = [float(cell.removesuffix(" MB")) if cell != "–" else 0.0 for cell in cells]
        if update:
            rows[name][at : at + 2] = [f"{size} MB" for size in sizes]
        elif any(abs(size - stated_size) > TOLERANCE * size for size, stated_size in zip(sizes, stated_mb)):
            problems.append(f"infra/README.md states {' and '.join(cells)} for {name}: run tests/deploy/sizes.py --update")
    if update:
        before, mark, after = page.partition(MARK)
        PAGE.write_text(before + mark + table(rows) + "\n\n" + after.partition("\n\n")[2])
    elif extra := stated.keys() - set(FUNCTIONS):
        problems.append(f"infra/README.md states sizes for functions that do not exist: {', '.join(extra)}")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
