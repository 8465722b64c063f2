"""The steps of build/bench in PyTorch, timed in turn with slimgrad's: slimgrad, PyTorch, slimgrad,
PyTorch ..., so that a busy machine slows both. A figure is the median of the ratios of neighbours.

PyTorch gets what helps it: numbers too small for full speed are flushed to zero, tensors are in
memory, gradients are set to None and not to zero, Adam is the faster of its two implementations,
the garbage collector rests.

Up to two thirds of PyTorch's time on wide layers is page faults: the C library gives large blocks
back to the system at each step. To see it without them:

    MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=4000000000 make bench-torch

run:  make bench-torch ARGS="--case mnist"
"""
import argparse
import ctypes
import gc
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time

# Threads that BLAS starts while it loads would not inherit the flag that flushes small numbers, so
# it loads with none, and is asked for more afterwards. (apps/program.cpp does the same.)
os.environ["OPENBLAS_NUM_THREADS"] = "1"
try:
    import torch
except ImportError:
    sys.exit("bench_torch.py: PyTorch is not there. hint: apt-get install python3-torch")
import torch.nn as nn
import torch.nn.functional as F


# ---- the layers, as their authors write them -----------------------------------------------------

class LoRA(nn.Module):
    """PEFT's lora.Linear."""

    def __init__(self, base, rank, scaling=1.0):
        super().__init__()
        self.base, self.scaling = base.requires_grad_(False), scaling
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        return self.base(x) + self.lora_B(self.lora_A(x)) * self.scaling


class PeftDoRA(LoRA):
    """PEFT's lora.Linear with use_dora, as of PEFT 0.14 and without dropout. It multiplies B A out
    by sending an identity matrix through both layers: its users may have split them over devices,
    where only calling a layer brings its weight together. The norm counts as a constant."""

    def __init__(self, base, rank, scaling=1.0):
        super().__init__(base, rank, scaling)
        self.magnitude = nn.Parameter(torch.linalg.norm(base.weight, dim=1))

    def forward(self, x):
        identity = torch.eye(self.base.in_features)
        BA = self.lora_B(self.lora_A(identity)).T.detach()
        weight_norm = torch.linalg.norm(self.base.weight + self.scaling * BA, dim=1)
        scale = (self.magnitude / weight_norm).view(1, -1)
        base_result = self.base(x)
        lora_result = self.lora_B(self.lora_A(x))
        return base_result + ((scale - 1) * (base_result - self.base.bias)
                              + scale * lora_result * self.scaling)


class MergedDoRA(LoRA):
    """The tutorials' LinearWithDoRAMerged, with the magnitude per input (dim 0), as they have it,
    or per output (dim 1)."""

    def __init__(self, base, rank, dim, scaling=1.0):
        super().__init__(base, rank, scaling)
        self.dim = dim
        self.m = nn.Parameter(base.weight.norm(p=2, dim=dim, keepdim=True))

    def forward(self, x):
        V = self.base.weight + self.scaling * (self.lora_B.weight @ self.lora_A.weight)
        direction = V / V.norm(p=2, dim=self.dim, keepdim=True)
        return F.linear(x, self.m * direction, self.base.bias)


# ---- the steps -----------------------------------------------------------------------------------

def mnist_step(adapt, foreach):
    """A step of the MNIST perceptron with Adam, on one batch."""
    sizes = [784, 128, 256, 10]
    linears = [adapt(nn.Linear(i, o)) for i, o in zip(sizes, sizes[1:])]
    model = nn.Sequential(linears[0], nn.ReLU(), linears[1], nn.ReLU(), linears[2])
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.005,
                            foreach=foreach)
    x = torch.rand(64, 784) * (torch.rand(64, 784) < 0.2)
    labels = torch.randint(10, (64,))

    def step():
        adam.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), labels).backward()
        adam.step()
    return step


def wide_step(adapt, width, batch):
    """Forward and backward of one layer in the middle of a model: x wants a gradient."""
    layer = adapt(nn.Linear(width, width))
    x = torch.randn(batch, width, requires_grad=True)
    dy = torch.randn(batch, width)

    def step():
        x.grad = None
        layer.zero_grad(set_to_none=True)
        layer(x).backward(dy)
    return step


def all_cases():
    """(the name of a case of build/bench, what PyTorch does, a function that makes its step)"""
    def mnist(adapt):
        return lambda: min((mnist_step(adapt, foreach) for foreach in (False, True)),
                           key=lambda step: min(seconds_of(step, 10) for _ in range(10)))

    yield "mnist full", "", mnist(lambda base: base)
    yield "mnist LoRA", "PEFT's form", mnist(lambda base: LoRA(base, 4))
    yield "mnist DoRA per output", "merged form", mnist(lambda base: MergedDoRA(base, 4, 1))
    yield "mnist DoRA per output", "PEFT's form", mnist(lambda base: PeftDoRA(base, 4))
    yield "mnist DoRA per input", "merged form", mnist(lambda base: MergedDoRA(base, 4, 0))
    for width, batch, rank in (1024, 64, 8), (2048, 128, 16), (4096, 128, 16):
        def wide(adapt, width=width, batch=batch):
            return lambda: wide_step(adapt, width, batch)

        name = f"wide {width}: "
        yield name + "frozen", "", wide(lambda base: base.requires_grad_(False))
        yield name + "LoRA", "PEFT's form", wide(lambda base, r=rank: LoRA(base, r))
        yield name + "DoRA per output", "PEFT's form", wide(lambda base, r=rank: PeftDoRA(base, r))
        yield name + "DoRA per output", "merged form", wide(lambda base, r=rank:
                                                            MergedDoRA(base, r, 1))
        yield name + "DoRA per input", "merged form", wide(lambda base, r=rank:
                                                           MergedDoRA(base, r, 0))


def blas():
    """The file of the BLAS that Debian's PyTorch calls; "" if PyTorch brings its own."""
    with open("/proc/self/maps") as maps:
        return next((line.split()[-1] for line in maps if "/libblas." in line), "")


def check_blas():
    if blas() and "openblas" not in blas():
        sys.exit(f"bench_torch.py: PyTorch uses {blas()}, and slimgrad OpenBLAS, which would be "
                 "unfair. hint: apt-get install libopenblas0-pthread")


def set_threads(threads):
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    if blas():  # of whose threads PyTorch knows nothing
        ctypes.CDLL(blas()).openblas_set_num_threads(threads)


# ---- turns ---------------------------------------------------------------------------------------

def seconds_of(step, calls):
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return time.perf_counter() - start


class Slimgrad:
    """build/bench, which answers each number of calls with the microseconds of one."""

    def __init__(self, bench, name, threads):
        self.process = subprocess.Popen([bench, "--step", name, "--threads", str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, calls):
        print(calls, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(1)  # it has said why
        return float(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class PyTorch:
    """A process that does the same, new for each case: whether large blocks of memory go back to
    the system at each step depends on what the process did before."""

    def __init__(self, make_step, threads):
        self.questions, there = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=self.answer, args=(there, make_step, threads),
                                               daemon=True)
        self.process.start()
        there.close()  # so that it does not wait for a process that has died

    @staticmethod
    def answer(questions, make_step, threads):
        set_threads(threads)
        gc.disable()
        torch.manual_seed(1)
        step = make_step()
        while calls := questions.recv():
            step()  # not timed: the other side has used the caches
            questions.send(1e6 * seconds_of(step, calls) / calls)

    def turn(self, calls):
        self.questions.send(calls)
        return self.questions.recv()

    def close(self):
        self.questions.send(0)
        self.process.join()


def compare(ours, theirs, pairs, pause):
    sides = ours, theirs
    for side in sides:
        side.turn(5)
    # A turn takes about 50 ms, and at least one call.
    calls = [max(1, int(50e3 / side.turn(1))) for side in sides]
    turns = []
    for _ in range(pairs):
        turn = []
        for side, n in zip(sides, calls):
            time.sleep(pause)
            turn.append(side.turn(n))
        turns.append(turn)
    ratios = [b / a for a, b in turns]
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios),
            "micros": statistics.median(a for a, _ in turns),
            "torch_micros": statistics.median(b for _, b in turns)}


def main():
    parser = argparse.ArgumentParser(description="Times steps of slimgrad and PyTorch in turn.")
    parser.add_argument("--case", default="all", choices=["all", "mnist", "wide"])
    parser.add_argument("--threads", type=int, default=1, help="of either side")
    parser.add_argument("--pairs", type=int, default=31, help="turns of each pair")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    parser.add_argument("--bench", metavar="PROGRAM", default="build/bench")
    args = parser.parse_args()
    if not os.path.exists(args.bench):
        sys.exit(f"bench_torch.py: {args.bench} is not there. hint: make bench-torch")
    for name in "threads", "pairs":
        if getattr(args, name) < 1:
            sys.exit(f"bench_torch.py: --{name}: got {getattr(args, name)}; it must be at least 1")
    check_blas()

    print(f"PyTorch {torch.__version__}, threads {args.threads}; median, lowest and highest of "
          f"{args.pairs} ratios\n")
    print(f"{'':28} {'us':>12}   {'in PyTorch':12} {'us':>12}  {'ratio':>7} {'low':>7} {'high':>7}")
    rows = []
    for name, form, make_step in all_cases():
        if args.case not in ("all", name.split()[0]):
            continue
        theirs = PyTorch(make_step, args.threads)  # first: it would keep the other's pipe open
        ours = Slimgrad(args.bench, name, args.threads)
        # Idle threads spin for 0.1 s, and would slow the other side down.
        row = compare(ours, theirs, args.pairs, pause=0.15 if args.threads > 1 else 0)
        ours.close()
        theirs.close()
        print("{:28} {micros:12.1f}   {:12} {torch_micros:12.1f}  {ratio:7.2f} {low:7.2f} "
              "{high:7.2f}".format(name, form, **row), flush=True)
        rows.append({"case": name, "form": form, **row})
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"torch": torch.__version__, "threads": args.threads, "rows": rows}, file,
                      indent=2)


if __name__ == "__main__":
    main()
