"""Writes the numbers that PyTorch gives, for the C++ tests to compare with.

Run by hand from the repository root, with PyTorch 1.13:   python3 tests/reference/make_reference.py
The files it writes are kept in the repository, so running the tests needs no Python. Everything is
computed in float64. One line is one tensor, `name dims... : values`, row-major, 17 significant
digits; a scalar has no dims. A line that starts with # is a comment. tests/reference/reference.h
reads a file. A gradient is dL/d(name) where dL/dy is the stored dy, and is called d + name.

ops.txt         linear.       x [4,5]  W [3,5]  b [3]  dy [4,3]  ->  y [4,3]  dx  dW  db
                cross_entropy.logits [5,7]  labels [5]  ->  loss []  dlogits      (dloss = 1, mean)
                softmax.      x [3,5]  dy [3,5]  ->  y  dx                        (last axis)
                log_softmax.  x [3,5]  dy [3,5]  ->  y  dx                        (last axis)
                norm0.        x [3,5]  dy [5]  ->  y [5]  dx                      (over axis 0)
                norm1.        x [3,5]  dy [3]  ->  y [3]  dx                      (over axis 1)

optim.txt       p1 [2,3]  p2 [4]     the parameters at the start
                g1 [10,2,3]  g2 [10,4]     the gradient of each at steps 0 .. 9, the same for all
                RUN.p1 [10,2,3]  RUN.p2 [10,4]     the parameters after each step, where RUN is
                  sgd            SGD(lr=0.1)
                  momentum       SGD(lr=0.1, momentum=0.9)
                  nesterov       SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
                  adam           Adam(lr=0.005)
                  adam_decay     Adam(lr=0.005, weight_decay=0.01)
                  adamw          AdamW(lr=0.005, weight_decay=0.01)
                  adam_default   Adam with its defaults
                  adamw_default  AdamW with its defaults
                  sgd_groups     SGD(lr=0.1), p1 with momentum=0.9, p2 with lr=0.05,
                                 weight_decay=0.1
                  adam_groups    Adam with its defaults, p2 with betas=(0.8, 0.99),
                                 weight_decay=0.1
                  adamw_groups   AdamW with its defaults, p2 with lr=0.01, eps=1e-3

adapters.txt    x [4,5]  W [7,5]  b [7]  A [3,5]  B [7,3]  dy [4,7]    N=4 in=5 out=7 r=3 alpha=6
                s []     the scaling, alpha / r = 2
                lora.         y [4,7]  merged [7,5]  dx  dW  db  dA  dB
                dora_out.     m0 [7]  m [7]     one magnitude per output: the norm is over dim=1
                dora_in.      m0 [5]  m [5]     one magnitude per input:  the norm is over dim=0
                              m0 is the untrained magnitude, the norm of W + s B A; m is perturbed
                  AXIS.y [4,7]  AXIS.merged [7,5]     computed with m; exact or detached is the same
                  AXIS.exact.   dx  dW  db  dA  dB  dm     the gradient goes through the norm
                  AXIS.detached.dx  dW  db  dA  dB  dm     the norm is a constant

embedding.txt   E [6,4]  dy [7,4]
                ids [7] = 1 3 1 0 5 1 3     (row 1 three times, 3 twice, 2 and 4 never)
                RUN.y [7,4]  RUN.E [6,4] (the table after the forward pass)  RUN.dE [6,4]
                where RUN is
                  plain          no option
                  padding        padding_idx=3 (row 3 of E is used as it is, and gets no gradient)
                  max_norm2      max_norm=1.0, norm_type=2 (rows that were looked up and are
                                 longer are scaled by max_norm / (norm + 1e-7), in place,
                                 before the lookup)
                  max_norm1      max_norm=1.5, norm_type=1
                  by_freq        scale_grad_by_freq=True
                  all            padding_idx=3, max_norm=1.0, norm_type=2, scale_grad_by_freq=True

init.txt        linear784.weight_bound []  linear784.bias_bound []    what torch.nn.Linear(784, n)
                draws its weight and bias from: uniform(-bound, bound)
"""

import math
import os

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
FOLDER = os.path.dirname(os.path.abspath(__file__))


def write(file, tensors):
    with open(os.path.join(FOLDER, file), "w") as out:
        out.write("# Made by make_reference.py, which explains the names. Do not edit.\n")
        for name, value in tensors.items():
            value = torch.as_tensor(value).detach()
            dims = "".join(" %d" % n for n in value.shape)
            numbers = " ".join("%.17g" % v for v in value.flatten().tolist())
            out.write("%s%s : %s\n" % (name, dims, numbers))


def random(*shape):
    return torch.randn(*shape).requires_grad_()


def gradients(y, dy, **leaves):
    """{"dx": dL/dx, ...} for the leaves x=..., where dL/dy = dy."""
    return dict(("d" + name, grad) for name, grad in
                zip(leaves, torch.autograd.grad(y, list(leaves.values()), dy)))


def prefixed(prefix, tensors):
    return {prefix + "." + name: value for name, value in tensors.items()}


def make_ops():
    torch.manual_seed(1)
    result = {}

    x, W, b, dy = random(4, 5), random(3, 5), random(3), random(4, 3)
    y = F.linear(x, W, b)
    result.update(prefixed("linear", dict(x=x, W=W, b=b, dy=dy, y=y,
                                          **gradients(y, dy, x=x, W=W, b=b))))

    logits, labels = random(5, 7), torch.tensor([3, 0, 6, 3, 1])
    loss = F.cross_entropy(logits, labels)
    result.update(prefixed("cross_entropy", dict(logits=logits, labels=labels, loss=loss,
                                                 **gradients(loss, None, logits=logits))))

    functions = dict(softmax=lambda x: F.softmax(x, dim=-1),
                     log_softmax=lambda x: F.log_softmax(x, dim=-1),
                     norm0=lambda x: x.norm(dim=0), norm1=lambda x: x.norm(dim=1))
    for name, f in functions.items():
        x = random(3, 5)
        y = f(x)
        dy = torch.randn_like(y)
        result.update(prefixed(name, dict(x=x, dy=dy, y=y, **gradients(y, dy, x=x))))
    write("ops.txt", result)


def make_optim():
    torch.manual_seed(2)
    start = dict(p1=torch.randn(2, 3), p2=torch.randn(4))
    grads = dict(g1=torch.randn(10, 2, 3), g2=torch.randn(10, 4))

    def groups(p, first, second):
        return [dict(params=p[:1], **first), dict(params=p[1:], **second)]

    runs = dict(
        sgd=lambda p: torch.optim.SGD(p, lr=0.1),
        momentum=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        nesterov=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True,
                                           weight_decay=0.01),
        adam=lambda p: torch.optim.Adam(p, lr=0.005),
        adam_decay=lambda p: torch.optim.Adam(p, lr=0.005, weight_decay=0.01),
        adamw=lambda p: torch.optim.AdamW(p, lr=0.005, weight_decay=0.01),
        adam_default=lambda p: torch.optim.Adam(p),
        adamw_default=lambda p: torch.optim.AdamW(p),
        sgd_groups=lambda p: torch.optim.SGD(groups(p, dict(momentum=0.9),
                                                    dict(lr=0.05, weight_decay=0.1)), lr=0.1),
        adam_groups=lambda p: torch.optim.Adam(groups(p, {}, dict(betas=(0.8, 0.99),
                                                                  weight_decay=0.1))),
        adamw_groups=lambda p: torch.optim.AdamW(groups(p, {}, dict(lr=0.01, eps=1e-3))))

    result = dict(start, **grads)
    for name, make in runs.items():
        p1, p2 = (p.clone().requires_grad_() for p in start.values())
        optimizer = make([p1, p2])
        after = dict(p1=[], p2=[])
        for step in range(10):
            p1.grad, p2.grad = grads["g1"][step].clone(), grads["g2"][step].clone()
            optimizer.step()
            after["p1"].append(p1.detach().clone())
            after["p2"].append(p2.detach().clone())
        result.update(prefixed(name, {p: torch.stack(steps) for p, steps in after.items()}))
    write("optim.txt", result)


def make_adapters():
    torch.manual_seed(3)
    N, inputs, outputs, r, alpha = 4, 5, 7, 3, 6
    s = alpha / r
    x, W, b = random(N, inputs), random(outputs, inputs), random(outputs)
    A, B, dy = random(r, inputs), random(outputs, r), torch.randn(N, outputs)
    result = dict(x=x, W=W, b=b, A=A, B=B, dy=dy, s=s)

    y = x @ W.T + b + s * (x @ A.T) @ B.T
    result.update(prefixed("lora", dict(y=y, merged=W + s * B @ A,
                                        **gradients(y, dy, x=x, W=W, b=b, A=A, B=B))))

    for name, dim in (("dora_out", 1), ("dora_in", 0)):
        V = W + s * B @ A
        m0 = V.norm(dim=dim, keepdim=True).detach()
        m = (m0 * (1 + 0.3 * torch.randn_like(m0))).requires_grad_()
        for kind in ("exact", "detached"):
            V = W + s * B @ A
            norm = V.norm(dim=dim, keepdim=True)
            merged = m / (norm.detach() if kind == "detached" else norm) * V
            y = x @ merged.T + b
            result.update(prefixed(name, dict(m0=m0.flatten(), m=m.flatten(), y=y, merged=merged)))
            grads = gradients(y, dy, x=x, W=W, b=b, A=A, B=B, m=m)
            grads["dm"] = grads["dm"].flatten()
            result.update(prefixed(name + "." + kind, grads))
    write("adapters.txt", result)


def make_embedding():
    torch.manual_seed(4)
    table, ids, dy = 0.8 * torch.randn(6, 4), torch.tensor([1, 3, 1, 0, 5, 1, 3]), torch.randn(7, 4)
    table[0] *= 0.1  # a row that max_norm leaves alone
    runs = dict(plain={}, padding=dict(padding_idx=3),
                max_norm2=dict(max_norm=1.0, norm_type=2.0),
                max_norm1=dict(max_norm=1.5, norm_type=1.0),
                by_freq=dict(scale_grad_by_freq=True),
                all=dict(padding_idx=3, max_norm=1.0, norm_type=2.0, scale_grad_by_freq=True))
    result = dict(E=table, ids=ids, dy=dy)
    for name, options in runs.items():
        E = table.clone().requires_grad_()
        y = F.embedding(ids, E, **options)
        y.backward(dy)
        result.update(prefixed(name, dict(y=y, E=E, dE=E.grad)))
    write("embedding.txt", result)


def make_init():
    fan_in = 784
    gain = torch.nn.init.calculate_gain("leaky_relu", math.sqrt(5))  # as nn.Linear asks for
    weight_bound = math.sqrt(3) * gain / math.sqrt(fan_in)
    bias_bound = 1 / math.sqrt(fan_in)
    layer = torch.nn.Linear(fan_in, 1000)  # the formulas against the layer itself
    for values, bound in ((layer.weight, weight_bound), (layer.bias, bias_bound)):
        assert 0.99 * bound < values.abs().max().item() <= bound
    write("init.txt", {"linear784.weight_bound": weight_bound, "linear784.bias_bound": bias_bound})


make_ops()
make_optim()
make_adapters()
make_embedding()
make_init()
