"""Golden values of the engine's plain ops and of conv2d, computed by PyTorch.

    pip install torch numpy safetensors
    python tests/golden/make_ops.py

writes ops.safetensors beside this file; engine/tests/golden.rs reads it. Inputs are float32; PyTorch computes outputs and
gradients from them in float64, and those are rounded to float32 once. Everything is in the engine's layout: feature maps
(N, H, W, C), convolution weights (K_h, K_w, C_in / groups, C_out); each case permutes to PyTorch's layout and back inside the
function it differentiates, so gradients come out in ours.

A case NAME is a line `NAME op key=value ...` of the entry `cases` of the file's metadata, and the tensors NAME/input0..,
NAME/output and, where gradients are compared, NAME/grad_output and NAME/grad0...
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

rng = np.random.default_rng(2)
tensors, cases = {}, {}


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def away(x, *kinks):
    """x with values close to a kink moved off it: there one rounding decides the gradient."""
    for kink in kinks:
        near = np.abs(x - kink) < 0.05
        x = np.where(near, kink + np.where(x < kink, -0.05, 0.05), x)
    return x.astype(np.float32)


def case(name, op, inputs, f, gradients=True, dtype=torch.float64, **params):
    assert name not in cases, name
    cases[name] = " ".join([op] + [f"{k}={v}" for k, v in params.items()])
    leaves = [torch.tensor(x, dtype=dtype, requires_grad=gradients) for x in inputs]
    output = f(*leaves)
    store = lambda key, t: tensors.update({f"{name}/{key}": np.array(t, dtype=np.float32, order="C")})
    for i, x in enumerate(inputs):
        store(f"input{i}", x)
    store("output", output.detach().numpy())
    if gradients:
        grad_output = normal(*output.shape)
        output.backward(torch.tensor(grad_output, dtype=dtype))
        store("grad_output", grad_output)
        for i, leaf in enumerate(leaves):
            store(f"grad{i}", leaf.grad.numpy())


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def conv2d(name, shape, c_out, kernel, stride=1, padding=0, dilation=1, groups=1, bias=False):
    c_in = shape[3]
    inputs = [normal(*shape), normal(kernel, kernel, c_in // groups, c_out)] + ([normal(c_out)] if bias else [])
    f = lambda x, w, b=None: nhwc(F.conv2d(nchw(x), w.permute(3, 2, 0, 1), b, stride, padding, dilation, groups))
    case("conv2d/" + name, "conv2d", inputs, f, stride=stride, padding=padding, dilation=dilation, groups=groups)


conv2d("3x3", (2, 7, 5, 3), 8, 3, padding=1, bias=True)
conv2d("3x3_no_padding", (1, 8, 7, 5), 7, 3)
conv2d("3x3_16_channels", (1, 9, 11, 16), 16, 3, padding=1)
conv2d("3x3_wide", (2, 10, 9, 32), 48, 3, padding=1, bias=True)
conv2d("3x3_growth_12", (1, 8, 8, 24), 12, 3, padding=1)
conv2d("3x3_one_pixel", (2, 1, 1, 4), 5, 3, padding=1, bias=True)
conv2d("3x3_one_channel", (1, 6, 4, 1), 1, 3, padding=1)
conv2d("3x3_stride_2", (2, 7, 9, 8), 16, 3, stride=2, padding=1)
conv2d("3x3_stride_2_even", (1, 8, 6, 16), 20, 3, stride=2, padding=1, bias=True)
conv2d("3x3_stride_2_no_padding", (1, 8, 7, 4), 6, 3, stride=2)
conv2d("3x3_stride_3", (1, 8, 9, 3), 4, 3, stride=3, padding=1)
conv2d("3x3_dilation_2", (1, 9, 8, 4), 6, 3, padding=1, dilation=2)
conv2d("3x3_dilation_2_stride_2", (2, 9, 7, 3), 5, 3, stride=2, padding=2, dilation=2, bias=True)
conv2d("1x1", (2, 5, 3, 16), 24, 1)
conv2d("1x1_bias", (1, 3, 5, 7), 9, 1, bias=True)
conv2d("1x1_padding", (1, 3, 4, 3), 4, 1, padding=1, bias=True)
conv2d("1x1_stride_2", (2, 7, 6, 8), 16, 1, stride=2)
conv2d("5x5", (1, 7, 9, 4), 6, 5, padding=2, bias=True)
conv2d("5x5_stride_2", (1, 9, 8, 3), 8, 5, stride=2, padding=1)
conv2d("2x2", (1, 5, 6, 4), 3, 2)
conv2d("2x2_stride_2", (2, 7, 5, 3), 5, 2, stride=2, padding=1, bias=True)
conv2d("groups_2", (1, 6, 7, 8), 12, 3, padding=1, groups=2, bias=True)
conv2d("groups_2_1x1_stride_2", (2, 5, 5, 6), 4, 1, stride=2, groups=2)
conv2d("groups_3_dilation_2", (1, 8, 7, 6), 9, 3, padding=1, dilation=2, groups=3)
conv2d("depthwise", (2, 6, 7, 19), 19, 3, padding=1, groups=19, bias=True)
conv2d("depthwise_stride_2", (2, 7, 8, 16), 16, 3, stride=2, padding=1, groups=16)
conv2d("depthwise_5x5", (1, 9, 7, 8), 8, 5, padding=1, groups=8)
conv2d("depthwise_dilation_2", (1, 9, 7, 5), 5, 3, padding=2, dilation=2, groups=5)
conv2d("depthwise_multiplier_2", (1, 5, 6, 4), 8, 3, padding=1, groups=4)


def batch_norm(x, gamma, beta, eps):
    return nhwc(F.batch_norm(nchw(x), None, None, gamma, beta, training=True, eps=eps))


for name, shape, eps in [("batch_norm", (3, 5, 4, 7), 1e-5), ("batch_norm_16", (2, 6, 5, 16), 1e-3)]:
    c = shape[3]
    x = normal(*shape) * 3 + np.float32(2)
    case(name, "batch_norm", [x, normal(c), normal(c)], lambda x, g, b: batch_norm(x, g, b, eps), eps=eps)
x = normal(2, 5, 5, 4) + np.float32(1000)
case("batch_norm_offset", "batch_norm", [x, normal(4), normal(4)], lambda x, g, b: batch_norm(x, g, b, 1e-5), eps=1e-5)

for kernel, stride, padding, shape in [
    (2, 2, 0, (2, 7, 5, 9)),
    (3, 2, 1, (2, 8, 7, 4)),
    (3, 1, 1, (1, 4, 6, 17)),
    (2, 3, 1, (1, 7, 8, 3)),
]:
    p = dict(kernel_size=kernel, stride=stride, padding=padding)
    tag = f"{kernel}_{stride}_{padding}"
    max_pool = lambda x: nhwc(F.max_pool2d(nchw(x), **p))
    case(f"max_pool2d/{tag}", "max_pool2d", [normal(*shape)], max_pool, **p)
    # Few distinct values, so that nearly every window holds its maximum more than once.
    ties = rng.integers(0, 3, shape).astype(np.float32)
    case(f"max_pool2d/ties_{tag}", "max_pool2d", [ties], max_pool, **p)
    for include in [False, True]:
        avg_pool = lambda x: nhwc(F.avg_pool2d(nchw(x), **p, count_include_pad=include))
        name = f"avg_pool2d/{tag}_{'with' if include else 'without'}_padding"
        case(name, "avg_pool2d", [normal(*shape)], avg_pool, **p, count_include_pad=str(include).lower())
case("global_avg_pool", "global_avg_pool", [normal(3, 4, 5, 6)], lambda x: x.mean(dim=(1, 2)))

case("concat", "concat", [normal(2, 3, 2, c) for c in (3, 1, 4)], lambda *maps: torch.cat(maps, dim=-1))
case("slice_channels", "slice_channels", [normal(2, 3, 2, 7)], lambda x: x[..., 2:6], start=2, end=6)
shuffle = lambda x: nhwc(F.channel_shuffle(nchw(x), 3))
case("shuffle_channels", "shuffle_channels", [normal(2, 2, 3, 12)], shuffle, groups=3)
pad = lambda x: F.pad(x, (0, 2, 3, 1, 1, 0, 0, 0))
case("pad", "pad", [normal(2, 3, 4, 2)], pad, padding="0:0,1:0,3:1,0:2")
case("subsample2d", "subsample2d", [normal(2, 7, 6, 5)], lambda x: x[:, ::2, ::2], stride=2)

case("log_softmax", "log_softmax", [normal(5, 10) * 4], lambda x: F.log_softmax(x, dim=-1))
case("log_softmax_map", "log_softmax", [normal(2, 3, 7)], lambda x: F.log_softmax(x, dim=-1))
labels = [3, 0, 9, 9, 5, 1]
labels_b = [1, 0, 2, 8, 5, 7]
listed = lambda labels: ",".join(map(str, labels))
for smoothing in [0.0, 0.1, 1.0]:
    ce = lambda x, labels=labels: F.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing)
    p = dict(label_smoothing=smoothing, labels=listed(labels))
    case(f"cross_entropy/{smoothing}", "cross_entropy", [normal(6, 10) * 3], ce, **p)
    mixed = lambda x: 0.3 * ce(x) + 0.7 * ce(x, labels_b)
    p = dict(**p, labels_b=listed(labels_b))
    # The engine takes lambda as float32: 0.3 differs from PyTorch's double by 1e-8, far below the tolerance.
    case(f"cross_entropy_mixed/{smoothing}", "cross_entropy_mixed", [normal(6, 10) * 3], mixed, **p, **{"lambda": 0.3})

for op, f in [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div)]:
    for i, (a, b) in enumerate([((3, 5), (3, 5)), ((2, 3, 1, 5), (4, 1)), ((7,), (2, 1, 7)), ((), (3, 2))]):
        case(f"{op}/{i}", op, [normal(*a), away(normal(*b), 0)], f)
case("neg", "neg", [normal(3, 7)], torch.neg)
case("exp", "exp", [normal(3, 17) * 5], torch.exp)
case("log", "log", [np.exp(normal(3, 17) * 5)], torch.log)
case("sqrt", "sqrt", [np.exp(normal(3, 17) * 3)], torch.sqrt)
case("tanh", "tanh", [normal(3, 17) * 3], torch.tanh)
case("sigmoid", "sigmoid", [normal(3, 17) * 4], torch.sigmoid)
case("relu", "relu", [away(normal(3, 17), 0)], F.relu)
case("relu_kink", "relu", [np.float32([-1, -0.0, 0, 1])], F.relu)
case("relu6", "relu6", [away(normal(3, 17) * 5, 0, 6)], F.relu6)
case("relu6_kinks", "relu6", [np.float32([-1, -0.0, 0, 3, 6, 7])], F.relu6)
case("scale", "scale", [normal(3, 7)], lambda x: x * -2.5, factor=-2.5)
case("add_scalar", "add_scalar", [normal(3, 7)], lambda x: x + 1.25, value=1.25)
for m, k, n in [(1, 1, 1), (5, 7, 3), (17, 33, 20), (4, 64, 10)]:
    case(f"matmul/{m}x{k}x{n}", "matmul", [normal(m, k), normal(k, n)], torch.matmul)
case("reshape", "reshape", [normal(2, 3, 4)], lambda x: x.reshape(6, 4), shape="6,4")
case("transpose", "transpose", [normal(5, 3)], lambda x: x.T)
case("sum", "sum", [normal(3, 4, 5)], torch.sum)
case("mean", "mean", [normal(3, 4, 5)], torch.mean)
for axis in range(3):
    for keep in [False, True]:
        p = dict(axis=axis, keep_dim=str(keep).lower())
        tag = f"{axis}_{'kept' if keep else 'dropped'}"
        case(f"sum_axis/{tag}", "sum_axis", [normal(3, 4, 5)], lambda x: x.sum(axis, keepdim=keep), **p)
        case(f"mean_axis/{tag}", "mean_axis", [normal(3, 4, 5)], lambda x: x.mean(axis, keepdim=keep), **p)

# Values without a neighbourhood, in float32 because that is where they overflow.
inf, nan = np.inf, np.nan
special = np.float32([nan, inf, -inf, 0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 89, -104, 1, -1, 6, 1e-38])
p = dict(kernel_size=2, stride=2, padding=0)
windows = np.float32([
    [nan, 1, 2, 3], [1, nan, inf, 2], [inf, 1, 2, nan], [-inf] * 4, [-inf, 1, inf, 0], [nan] * 4, [-inf, -0.0, -1, -0.0],
])
max_pool = lambda x: nhwc(F.max_pool2d(nchw(x), **p))
in_float32 = dict(gradients=False, dtype=torch.float32)
for op, f in [("relu", F.relu), ("relu6", F.relu6), ("exp", torch.exp), ("log", torch.log)]:
    case(f"special/{op}", op, [special], f, **in_float32)
case("special/max_pool2d", "max_pool2d", [windows.reshape(-1, 2, 2, 1)], max_pool, **in_float32, **p)

path = Path(__file__).with_name("ops.safetensors")
# One entry: safetensors writes several in a random order.
save_file(tensors, path, {"cases": "\n".join(f"{name} {call}" for name, call in cases.items())})
print(f"{len(cases)} cases, {path.stat().st_size} bytes in {path}")
