"""Run the benchmarks and write their tables to docs/results/speed.md.

    python benchmarks/speed.py                        # all, within half an hour on 2 cores that do nothing else
    python benchmarks/speed.py networks features      # some; the other tables stay
    python benchmarks/speed.py --quick                # one round of each with less data, to see whether they run

Each script is run by itself and prints a Markdown table. It replaces what stands in the page between the script's two
comments; the text around them is written by hand. Above each table stand the machine, the versions and the commit that
it was measured with, which may be others than those of the tables around it.
"""
import argparse
import datetime
import re
import subprocess
import sys
import time

from timing import IDLE, ROOT, commit, load, machine, wait_until_idle

PAGE = ROOT / "docs" / "results" / "speed.md"
SCRIPTS = {"networks": [], "start_up": [], "many_files": [], "features": [], "input_pipeline": [],
           "frame_scores": ["--rounds", "3"]}
QUICK = {"many_files": ["--clips", "20", "--all-clips", "40", "--seconds", "60"]}


def replace_section(page, name, text):
    """Return a page with other text between the comments of a script."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if len(found.findall(page)) != 1:
        raise SystemExit(f"{PAGE}: expected {begin} and {end} once.")
    return found.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", page)


def run(name, options, patience):
    """Run a script and return its table, with a line on the machine, the commit, and what else ran."""
    before, started = wait_until_idle(patience), time.monotonic()
    output = subprocess.run([sys.executable, ROOT / "benchmarks" / f"{name}.py", *options], stdout=subprocess.PIPE,
                            text=True, check=True).stdout
    beside = "" if before < IDLE else f" **Beside other work**: a load of {before:.1f} before it began."
    return (f"`python benchmarks/{' '.join([name + '.py', *options])}`, commit {commit()}, {datetime.date.today()}, "
            f"{(time.monotonic() - started) / 60:.1f} minutes; {machine()}{beside}\n\n{output}")


def main():
    """Run the scripts that are asked for, and write the page after each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=f"default: {' '.join(SCRIPTS)}")
    parser.add_argument("--quick", action="store_true", help="print the tables, and leave the page")
    parser.add_argument("--wait", type=float, default=120, metavar="SECONDS",
                        help="how long to wait before each script for other programs to end; default: 120")
    arguments = parser.parse_args()
    if unknown := set(arguments.scripts) - set(SCRIPTS):
        parser.error(f"SCRIPT: expected some of {' '.join(SCRIPTS)}. Received: {' '.join(sorted(unknown))}.")
    failed, started = [], time.monotonic()
    for name in arguments.scripts or SCRIPTS:
        print(f"{name}: begins at a load of {load():.1f}", file=sys.stderr, flush=True)
        try:
            options = ["--rounds", "1", *QUICK.get(name, [])] if arguments.quick else SCRIPTS[name]
            text = run(name, options, 0 if arguments.quick else arguments.wait)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            print(f"{name}: failed: {error}", file=sys.stderr, flush=True)
            continue
        print(text, flush=True)
        if not arguments.quick:
            PAGE.write_text(replace_section(PAGE.read_text(), name, text))
    print(f"all took {(time.monotonic() - started) / 60:.1f} minutes", file=sys.stderr)
    sys.exit(f"failed: {' '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
