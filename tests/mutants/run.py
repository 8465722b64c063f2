"""Breaks the library on purpose, in one place at a time, and counts how often the tests notice.

    python3 tests/mutants/run.py [part of a file's name ...]      make mutants ARGS="core/ data/"

Each mutant of list.txt is put into a copy of the tree below build/mutants, which is built and
tested: first the tests of the same folder, then those of the library, and for data/file.cpp also
tests/faults. A mutant is killed if a test fails, crashes or takes too long. JOBS=2 works on two
copies at a time. The last line counts: "N killed, N survived, N explained, N not tried".
"""
import concurrent.futures
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "build" / "mutants"
LIMIT = 1200  # seconds to build, and for all tests
FAULTS = ["make", "-s", "faults", "KILLS=10"]


class Mutant:
    def __init__(self, file, wanted, line):
        self.file, self.wanted, self.line = file, wanted, line
        self.old, self.new, self.why = [], [], ""

    def name(self):
        return f"{self.file} (list.txt:{self.line}): {' '.join(self.old)[:60]}"


def read_list():
    mutants, file, wanted, mutant = [], "", False, None
    for number, text in enumerate((ROOT / "tests/mutants/list.txt").open(), 1):
        mark, rest = text[:2].strip(), text[2:].rstrip("\n")
        if mark == "!":
            wanted = True
        elif mark == "-":
            if mutant is None or mutant.new:
                mutant = Mutant(file, wanted, number)
                mutants.append(mutant)
                wanted = False
            mutant.old.append(rest)
        elif mark == "+":
            mutant.new.append(rest)
        elif mark == "?":
            mutant.why += rest
        elif mark and mark != "#":
            file, mutant = text.strip(), None
    return mutants


def make_copy(place):
    """The tree and what is built of it, with its times, so that make has nothing to do."""
    shutil.rmtree(place, ignore_errors=True)
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, files):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)
    if (ROOT / "data/mnist").exists() and not (place / "data/mnist").exists():
        (place / "data/mnist").symlink_to(ROOT / "data/mnist")
    (place / "build").mkdir()
    for name in ["obj", "lessons", "gdb"]:
        if (ROOT / "build" / name).exists():
            shutil.copytree(ROOT / "build" / name, place / "build" / name)
    for program in (ROOT / "build").iterdir():
        if program.is_file():
            shutil.copy2(program, place / "build" / program.name)


def run(place, command, limit=LIMIT):
    """Status of a command: 0 is good. It is killed, with its children, after the limit."""
    with open(place / "build/log", "w") as log, \
         subprocess.Popen(["nice", *command], cwd=place, stdout=log, stderr=log,
                          start_new_session=True) as process:
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return "time"


def build(place):
    command = ["make", "-s", "-j2", f"CXX={os.environ.get('CXX', 'g++')} -w",  # unused names
               "LESSONS=", "WALKS=", "build/tests"]
    return run(place, command)


def test(place, file):
    folder = file.split("/")[0]
    program = ["build/tests", "--abort-after=1"]
    not_ours = "*tests/apps/*,*tests/lessons/*,*tests/sources_test*"
    for filters in [f"-sf=*tests/{folder}/*"], [f"-sfe={not_ours},*tests/{folder}/*"]:
        if run(place, program + filters) != 0:
            return False
    return file != "data/file.cpp" or run(place, FAULTS) == 0


def try_mutant(place, mutant):
    path = place / mutant.file
    source, times = path.read_text(), path.stat()
    old, new = "\n".join(mutant.old), "\n".join(mutant.new)
    if source.count(old) != 1:
        return f"NOT TRIED, its text is there {source.count(old)} times"
    objects, kept = place / "build/obj", place / "build/kept"
    item = pathlib.Path(mutant.file).with_suffix(".o") if path.suffix == ".cpp" else ""
    run(place, ["rm", "-rf", str(kept)])
    run(place, ["cp", "-a", str(objects / item), str(kept)])
    try:
        path.write_text(source.replace(old, new))
        if build(place) != 0:
            return "NOT TRIED, it does not compile"
        return "survived" if test(place, mutant.file) else "killed"
    finally:
        path.write_text(source)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if it had never been changed
        run(place, ["rm", "-rf", str(objects / item)])
        run(place, ["mv", str(kept), str(objects / item)])


def main():
    mutants = [m for m in read_list()
               if not sys.argv[1:] or any(part in m.file for part in sys.argv[1:])]
    jobs = int(os.environ.get("JOBS", 1))
    places = queue.Queue()
    for i in range(jobs):
        make_copy(SCRATCH / str(i))
        places.put(SCRATCH / str(i))
        if build(SCRATCH / str(i)) != 0:
            sys.exit("the tree does not build")
    if not test(SCRATCH / "0", "data/"):
        sys.exit(f"the tests fail without any mutant: see {SCRATCH}/0/build/log")

    def one(mutant):
        place, start = places.get(), time.time()
        result = try_mutant(place, mutant)
        places.put(place)
        if result == "survived" and mutant.why:
            result = "explained"
        text = f"{result}: {mutant.name()} [{time.time() - start:.0f} s]"
        print(text + (f"\n    {mutant.why}" if result == "explained" else ""), flush=True)
        return result

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(one, mutants))
    wanted = [m.name() for m, r in zip(mutants, results) if m.wanted and r != "killed"]
    for name in wanted:
        print(f"must die: {name}")
    count = {kind: results.count(kind) for kind in ("killed", "survived", "explained")}
    rest = len(results) - sum(count.values())
    print(f"{count['killed']} killed, {count['survived']} survived, {count['explained']} explained, "
          f"{rest} not tried")
    lived = count["survived"] + count["explained"]
    sys.exit(bool(wanted or rest or lived > 0.02 * len(mutants)))


main()
