"""Reads gcov's JSON and prints the functions that ran, with the code lines of each that ran."""
import collections
import json
import re
import sys


def plain(name):
    """Returns "f", given "slim::Tensor slim::(anonymous namespace)::f<true>(int)"."""
    name = name.replace("(anonymous namespace)::", "").replace("slim::", "")
    while "<" in name:
        shorter = re.sub(r"<[^<>]*>", "", name)
        if shorter == name:
            break
        name = shorter
    return name.split("(")[0].split(" ")[-1] or name


ran = collections.defaultdict(set)  # (file, function) -> its lines that ran
for text in sys.stdin:
    for file in json.loads(text)["files"]:
        if file["file"].startswith(("core/", "data/", "nn/", "optim/")):
            names = {f["name"]: f["demangled_name"] for f in file["functions"]}
            for line in file["lines"]:
                if line["count"] and line.get("function_name") in names:
                    ran[file["file"], plain(names[line["function_name"]])].add(line["line_number"])

order = sys.argv[1:]
place = {name: i for i, name in enumerate(order)}
total = 0
for file in sorted({f for f, _ in ran}, key=lambda f: (place.get(f, len(order)), f)):
    functions = [(name, len(lines)) for (f, name), lines in ran.items() if f == file]
    lines = len(set().union(*(l for (f, _), l in ran.items() if f == file)))
    total += lines
    print(f"{lines:5d}  {file}: " + ", ".join(f"{name} {n}" for name, n in functions))
print(f"{total:5d}  lines that one step runs")


def code_lines(path):
    return sum(bool(t.strip()) and not t.strip().startswith("//") for t in open(path))


print(f"{sum(code_lines(name) for name in order):5d}  code lines in the {len(order)} files of the "
      "README's reading order")
