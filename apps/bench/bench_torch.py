"""The steps of build/bench in PyTorch, eager and compiled, timed in turn with slimgrad's: slimgrad,
PyTorch, slimgrad, PyTorch ... A figure is the median of the ratios of neighbours, with quartiles.
With one thread, times are the processor's, which other programs do not disturb.

PyTorch gets what helps it: numbers too small for full speed are flushed to zero, tensors are in
memory, gradients are set to None and not to zero, Adam is the fastest of its implementations, the
garbage collector rests. The adapters are PEFT's own layers, without the wrapper around the model.
PEFT has no magnitude per input; there, and beside its own, is the tutorials' definition.

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
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
try:
    import peft
    import torch
except ImportError as error:
    sys.exit(f"bench_torch.py: {error.name} is not there. hint: make bench-torch, without PYTHON=")
import torch.nn as nn
import torch.nn.functional as F


# ---- adapters: each puts itself in the place of the Linears of a Sequential ----------------------

def full(model, rank):
    pass


def frozen(model, rank):
    model.requires_grad_(False)


def with_peft(**options):
    def adapt(model, rank):
        names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
        peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=names,
                                                     **options), model)
    return adapt


class MergedDoRA(nn.Module):
    """The tutorials' LinearWithDoRAMerged, with the magnitude per input (dim 0), as they have it,
    or per output (dim 1)."""

    def __init__(self, base, rank, dim):
        super().__init__()
        self.base, self.dim = base.requires_grad_(False), dim
        self.A = nn.Parameter(torch.randn(rank, base.in_features) / rank ** 0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        self.m = nn.Parameter(base.weight.norm(p=2, dim=dim, keepdim=True))

    def forward(self, x):
        V = self.base.weight + self.B @ self.A
        direction = V / V.norm(p=2, dim=self.dim, keepdim=True)
        return F.linear(x, self.m * direction, self.base.bias)


def merged_form(dim):
    def adapt(model, rank):
        for i, module in enumerate(model):
            if isinstance(module, nn.Linear):
                model[i] = MergedDoRA(module, rank, dim)
    return adapt


# ---- the steps -----------------------------------------------------------------------------------

def training_step(model, loss, compiled, adam):
    """Forward, backward and Adam over what is trained of the model."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], **adam)
    if compiled:
        loss = torch.compile(loss)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()
    return step


def mnist_step(adapt, compiled, adam):
    """A step of the MNIST perceptron with Adam, on one batch."""
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(),
                          nn.Linear(256, 10))
    adapt(model, 4)
    x = torch.rand(64, 784) * (torch.rand(64, 784) < 0.2)
    labels = torch.randint(10, (64,))

    def loss():
        return F.cross_entropy(model(x), labels)
    return training_step(model, loss, compiled, {"lr": 0.005, **adam})


def wide_step(adapt, compiled, width, batch, rank):
    """Forward and backward of one layer in the middle of a model: x wants a gradient."""
    model = nn.Sequential(nn.Linear(width, width))
    adapt(model, rank)
    x = torch.randn(batch, width, requires_grad=True)
    dy = torch.randn(batch, width)
    forward = torch.compile(model) if compiled else model

    def step():
        x.grad = None
        model.zero_grad(set_to_none=True)
        forward(x).backward(dy)
    return step


class Layer(nn.Module):
    """A layer of Llama: 4 heads of 32, on x [16, 128, 128]."""

    def __init__(self, angles):
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(128, eps=1e-6) for _ in range(2))
        self.q, self.k, self.v, self.o = (nn.Linear(128, 128, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(128, 352, bias=False) for _ in range(2))
        self.down = nn.Linear(352, 128, bias=False)
        self.cos, self.sin = angles.cos(), angles.sin()

    def rope(self, x):
        return x * self.cos + torch.cat((-x[..., 16:], x[..., :16]), -1) * self.sin

    def forward(self, x):
        h = self.norms[0](x)
        q, k, v = (linear(h).view(16, 128, 4, 32).transpose(1, 2)
                   for linear in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(self.rope(q), self.rope(k), v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(16, 128, 128))
        h = self.norms[1](x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


def gpt_step(adapt, compiled, adam):
    """A step of the Llama of build/gpt with Adam, on 16 windows of 128 bytes."""
    angles = torch.outer(torch.arange(128), 10000 ** (-torch.arange(16) / 16)).repeat(1, 2)
    layers = nn.Sequential(*(Layer(angles) for _ in range(4)))
    adapt(layers, 8)
    model = nn.Sequential(nn.Embedding(256, 128), layers, nn.RMSNorm(128, eps=1e-6),
                          nn.Linear(128, 256, bias=False))
    if adapt is not full:
        for part in model[0], model[2], model[3], *(layer.norms for layer in layers):
            part.requires_grad_(False)
    ids, following = torch.randint(256, (2, 16, 128))

    def loss():
        return F.cross_entropy(model(ids).view(-1, 256), following.view(-1))
    return training_step(model, loss, compiled, {"lr": 1e-4, **adam})


def fastest(make_step, adapt, compiled):
    """The step with the fastest Adam."""
    calls = 1 if make_step is gpt_step else 10
    steps = [make_step(adapt, compiled, adam)
             for adam in ({"foreach": False}, {"foreach": True}, {"fused": True})]
    return min(steps, key=lambda step: min(seconds_of(step, calls) for _ in range(calls + 2)))


ROWS = [("full", "", full), ("frozen", "", frozen), ("LoRA", "PEFT", with_peft()),
        ("DoRA per output", "PEFT", with_peft(use_dora=True)),
        ("DoRA per output", "by definition", merged_form(1)),
        ("DoRA per input", "by definition", merged_form(0))]


def all_cases():
    """(the name of a case of build/bench, what PyTorch does, a function that makes its step)"""
    for group, make_step in ("mnist", mnist_step), ("gpt", gpt_step):
        for name, form, adapt in ROWS:
            if name == "frozen" or (group == "gpt" and form == "by definition"):
                continue
            for compiled in False, True:
                how = (form + (", " if form else "") + ("compiled" if compiled else "eager"))
                yield (f"{group} {name}", how,
                       lambda make_step=make_step, adapt=adapt, compiled=compiled:
                       fastest(make_step, adapt, compiled))
    for width, batch, rank in (1024, 64, 8), (2048, 128, 16), (4096, 128, 16):
        for name, form, adapt in ROWS:
            for compiled in False, True:
                how = (form + (", " if form else "") + ("compiled" if compiled else "eager"))
                if name != "full":
                    yield (f"wide {width}: {name}", how,
                           lambda adapt=adapt, compiled=compiled, size=(width, batch, rank):
                           wide_step(adapt, compiled, *size))


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
    """The processor's time; with several threads the time on the wall. (apps/bench/bench.cpp, too)"""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(calls):
        step()
    return clock() - start


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
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"ratio": median, "low": low, "high": high,
            "micros": statistics.median(a for a, _ in turns),
            "torch_micros": statistics.median(b for _, b in turns)}


def main():
    parser = argparse.ArgumentParser(description="Times steps of slimgrad and PyTorch in turn.")
    parser.add_argument("--case", default="all", choices=["all", "mnist", "gpt", "wide"])
    parser.add_argument("--threads", type=int, default=1, help="of either side")
    parser.add_argument("--pairs", type=int, default=31, help="turns of each pair")
    parser.add_argument("--json", metavar="FILE", help="write every figure to this file")
    parser.add_argument("--bench", metavar="PROGRAM", default="build/bench")
    args = parser.parse_args()
    if not os.path.exists(args.bench):
        sys.exit(f"bench_torch.py: {args.bench} is not there. hint: make bench-torch")
    for name, least in ("threads", 1), ("pairs", 2):
        if getattr(args, name) < least:
            sys.exit(f"bench_torch.py: --{name}: got {getattr(args, name)}; it must be at least "
                     f"{least}")
    check_blas()

    products = "MKL" if torch.backends.mkl.is_available() else "no MKL"
    print(f"PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}, {products}), "
          f"PEFT {peft.__version__}, threads {args.threads}")
    print(f"PyTorch's time / ours, median and quartiles of {args.pairs} ratios\n")
    print(f"{'':28} {'us':>12}   {'in PyTorch':21} {'us':>12}  {'ratio':>7} {'25 %':>7} "
          f"{'75 %':>7}")
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
        print("{:28} {micros:12.1f}   {:21} {torch_micros:12.1f}  {ratio:7.2f} {low:7.2f} "
              "{high:7.2f}".format(name, form, **row), flush=True)
        rows.append({"case": name, "form": form, **row})
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"torch": torch.__version__, "peft": peft.__version__,
                       "threads": args.threads, "rows": rows}, file, indent=2)


if __name__ == "__main__":
    main()
