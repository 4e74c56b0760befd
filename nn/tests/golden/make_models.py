"""Logits and training losses of PyTorch, for nn/tests/golden.rs.

    python nn/tests/golden/make_models.py [NAME...]     # PyTorch 2.15, CPU, f32

Writes models.json beside this file, a network a line: those that are named, or all; the others' lines are kept.

Weights, images and labels are not stored: both sides compute them from an integer hash (`unit` here, `unit` in golden.rs).
Each network is evaluated once with its formula statistics, then trained: SGD, Nesterov momentum 0.9, weight decay 5e-4 on
everything, a new batch each step. Parameter names are those of the reference implementations (akamaster/pytorch_resnet_cifar10,
kuangliu/pytorch-cifar, andreasveit/densenet-pytorch).

Why such small learning rates: training is chaotic. A value within rounding of a ReLU's kink falls on one side here and on the
other there, and the difference grows by half an order of magnitude a step. At lr 0.05, PyTorch's own losses in NCHW and in
channels_last memory agree to 1e-5 after two steps and to 1e-2 after ten, so that ten losses of another engine would prove nothing; at
0.0005 they agree to 2e-5 over all ten. `--check` prints that self-agreement.
"""
import json, math, os, sys
import numpy as np, torch
from torch import nn
import torch.nn.functional as F


def conv(i, o, k=3, s=1):
    return nn.Conv2d(i, o, k, s, k // 2, bias=False)


class Pad(nn.Module):
    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def forward(self, x):
        h = self.extra // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, h, self.extra - h))


class Basic(nn.Module):
    def __init__(self, i, o, s, option):
        super().__init__()
        self.conv1, self.bn1 = conv(i, o, 3, s), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = conv(o, o), nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if i != o:
            self.shortcut = Pad(o - i) if option == "A" else nn.Sequential(conv(i, o, 1, s), nn.BatchNorm2d(o))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Bottle(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        m = o // 4
        self.conv1, self.bn1 = conv(i, m, 1, s), nn.BatchNorm2d(m)
        self.conv2, self.bn2 = conv(m, m), nn.BatchNorm2d(m)
        self.conv3, self.bn3 = conv(m, o, 1), nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential(conv(i, o, 1, s), nn.BatchNorm2d(o)) if i != o else nn.Sequential()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + self.shortcut(x))


class PreAct(nn.Module):
    def __init__(self, i, o, s, option):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv(i, o, 3, s)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), conv(o, o)
        self.option = option
        if i != o:
            self.shortcut = Pad(o - i) if option == "A" else nn.Sequential(conv(i, o, 1, s))

    def forward(self, x):
        a = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(a))))
        return y + (self.shortcut(x if self.option == "A" else a) if hasattr(self, "shortcut") else x)


class PreActBottle(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        m = o // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv(i, m, 1, s)
        self.bn2, self.conv2 = nn.BatchNorm2d(m), conv(m, m)
        self.bn3, self.conv3 = nn.BatchNorm2d(m), conv(m, o, 1)
        if i != o:
            self.shortcut = nn.Sequential(conv(i, o, 1, s))

    def forward(self, x):
        a = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(a))))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + (self.shortcut(a) if hasattr(self, "shortcut") else x)


def stages(n, widths, block):
    i, out = 16, []
    for stage, o in enumerate(widths):
        units = []
        for b in range(n):
            units.append(block(i, o, 2 if stage and not b else 1))
            i = o
        out.append(nn.Sequential(*units))
    return out


class ResNet(nn.Module):
    def __init__(self, n, widths, block):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 16), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stages(n, widths, block)
        self.linear = nn.Linear(widths[-1], 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class PreActResNet(nn.Module):
    def __init__(self, n, widths, block):
        super().__init__()
        self.conv1 = conv(3, 16)
        self.layer1, self.layer2, self.layer3 = stages(n, widths, block)
        self.bn, self.linear = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self, widths):
        super().__init__()
        layers, i = [], 3
        for w in widths:
            if w == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [conv(i, w), nn.BatchNorm2d(w), nn.ReLU()]
                i = w
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(512, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def depthwise(c, s):
    return nn.Conv2d(c, c, 3, s, 1, groups=c, bias=False)


class Separable(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.conv1, self.bn1 = depthwise(i, s), nn.BatchNorm2d(i)
        self.conv2, self.bn2 = conv(i, o, 1), nn.BatchNorm2d(o)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class MobileNetV1(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 32), nn.BatchNorm2d(32)
        layers, i = [], 32
        for o, s in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]:
            layers.append(Separable(i, o, s))
            i = o
        self.layers, self.linear = nn.Sequential(*layers), nn.Linear(1024, 10)

    def forward(self, x):
        return self.linear(self.layers(F.relu(self.bn1(self.conv1(x)))).mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, i, o, s, t):
        super().__init__()
        if t != 1:
            self.conv1, self.bn1 = conv(i, t * i, 1), nn.BatchNorm2d(t * i)
        self.conv2, self.bn2 = depthwise(t * i, s), nn.BatchNorm2d(t * i)
        self.conv3, self.bn3 = conv(t * i, o, 1), nn.BatchNorm2d(o)
        self.residual = s == 1 and i == o

    def forward(self, x):
        y = F.relu6(self.bn1(self.conv1(x))) if hasattr(self, "conv1") else x
        y = self.bn3(self.conv3(F.relu6(self.bn2(self.conv2(y)))))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 32), nn.BatchNorm2d(32)
        layers, i = [], 32
        for t, o, n, s in [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
            for b in range(n):
                layers.append(Inverted(i, o, 1 if b else s, t))
                i = o
        self.layers = nn.Sequential(*layers)
        self.conv2, self.bn2, self.linear = conv(i, 1280, 1), nn.BatchNorm2d(1280), nn.Linear(1280, 10)

    def forward(self, x):
        x = self.layers(F.relu6(self.bn1(self.conv1(x))))
        return self.linear(F.relu6(self.bn2(self.conv2(x))).mean((2, 3)))


class Dense(nn.Module):
    def __init__(self, i, k, bottleneck):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(i)
        if bottleneck:
            self.conv1, self.bn2, self.conv2 = conv(i, 4 * k, 1), nn.BatchNorm2d(4 * k), conv(4 * k, k)
        else:
            self.conv1 = conv(i, k)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(y))) if hasattr(self, "conv2") else y


class DenseBlock(nn.Module):
    """sources(i): which earlier outputs layer i reads, in the order of the concatenation."""
    def __init__(self, i, k, n, bottleneck, sources):
        super().__init__()
        widths, self.sources = [i] + [k] * n, sources
        read = lambda j: sum(widths[s] for s in sources(j))
        self.layer = nn.Sequential(*(Dense(read(j), k, bottleneck) for j in range(1, n + 1)))
        self.out = read(n + 1)

    def forward(self, x):
        xs = [x]
        for j, layer in enumerate(self.layer, 1):
            xs.append(layer(torch.cat([xs[s] for s in self.sources(j)], 1)))
        return torch.cat([xs[s] for s in self.sources(len(xs))], 1)


class Trans(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), conv(i, o, 1)

    def forward(self, x):
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x))), 2)


class DenseNet(nn.Module):
    """DenseNet and SparseNet, named as andreasveit/densenet-pytorch names them; the same networks as peers/torch_models.py."""
    def __init__(self, n, stem, k, bottleneck, sources):
        super().__init__()
        self.conv1 = conv(3, stem)
        self.block1 = DenseBlock(stem, k, n, bottleneck, sources)
        out = lambda block: block.out // 2 if bottleneck else block.out
        self.trans1 = Trans(self.block1.out, out(self.block1))
        self.block2 = DenseBlock(out(self.block1), k, n, bottleneck, sources)
        self.trans2 = Trans(self.block2.out, out(self.block2))
        self.block3 = DenseBlock(out(self.block2), k, n, bottleneck, sources)
        self.bn1, self.fc = nn.BatchNorm2d(self.block3.out), nn.Linear(self.block3.out, 10)

    def forward(self, x):
        x = self.trans1(self.block1(self.conv1(x)))
        x = self.block3(self.trans2(self.block2(x)))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class DualPath(nn.Module):
    """kuangliu/pytorch-cifar's dual path unit."""
    def __init__(self, i, m, o, k, s, first):
        super().__init__()
        self.o = o
        self.conv1, self.bn1 = conv(i, m, 1), nn.BatchNorm2d(m)
        self.conv2, self.bn2 = nn.Conv2d(m, m, 3, s, 1, groups=32, bias=False), nn.BatchNorm2d(m)
        self.conv3, self.bn3 = conv(m, o + k, 1), nn.BatchNorm2d(o + k)
        if first:
            self.shortcut = nn.Sequential(conv(i, o + k, 1, s), nn.BatchNorm2d(o + k))

    def forward(self, x):
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        y, s, o = self.bn3(self.conv3(y)), self.shortcut(x) if hasattr(self, "shortcut") else x, self.o
        return F.relu(torch.cat([s[:, :o] + y[:, :o], s[:, o:], y[:, o:]], 1))


class Dpn(nn.Module):
    def __init__(self, units):
        super().__init__()
        self.conv1, self.bn1, i = conv(3, 64), nn.BatchNorm2d(64), 64
        for stage, (o, m, k, n) in enumerate(zip((256, 512, 1024, 2048), (96, 192, 384, 768), (16, 32, 24, 128), units)):
            layers = []
            for b in range(n):
                layers.append(DualPath(i, m, o, k, 2 if stage and not b else 1, not b))
                i = o + (b + 2) * k
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.linear = nn.Linear(i, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def cbr(i, o, k):
    return [conv(i, o, k), nn.BatchNorm2d(o), nn.ReLU()]


class Inception(nn.Module):
    def __init__(self, i, a, b, c, d, e, f):
        super().__init__()
        self.b1 = nn.Sequential(*cbr(i, a, 1))
        self.b2 = nn.Sequential(*cbr(i, b, 1), *cbr(b, c, 3))
        self.b3 = nn.Sequential(*cbr(i, d, 1), *cbr(d, e, 3), *cbr(e, e, 3))
        self.b4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), *cbr(i, f, 1))

    def forward(self, x):
        return torch.cat([self.b1(x), self.b2(x), self.b3(x), self.b4(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.pre_layers = nn.Sequential(*cbr(3, 192, 3))
        self.a3, self.b3 = Inception(192, 64, 96, 128, 16, 32, 32), Inception(256, 128, 128, 192, 32, 96, 64)
        self.a4, self.b4 = Inception(480, 192, 96, 208, 16, 48, 64), Inception(512, 160, 112, 224, 24, 64, 64)
        self.c4, self.d4 = Inception(512, 128, 128, 256, 24, 64, 64), Inception(512, 112, 144, 288, 32, 64, 64)
        self.e4, self.a5 = Inception(528, 256, 160, 320, 32, 128, 128), Inception(832, 256, 160, 320, 32, 128, 128)
        self.b5, self.linear = Inception(832, 384, 192, 384, 48, 128, 128), nn.Linear(1024, 10)

    def forward(self, x):
        x = F.max_pool2d(self.b3(self.a3(self.pre_layers(x))), 3, 2, 1)
        x = F.max_pool2d(self.e4(self.d4(self.c4(self.b4(self.a4(x))))), 3, 2, 1)
        return self.linear(self.b5(self.a5(x)).mean((2, 3)))


def shuffle(x, g):
    n, c, h, w = x.shape
    return x.view(n, g, c // g, h, w).transpose(1, 2).reshape(n, c, h, w)


class Shuffle1(nn.Module):
    def __init__(self, i, o, s, groups):
        super().__init__()
        self.s, o, self.g = s, o - i if s == 2 else o, 1 if i == 24 else groups
        m = o // 4
        self.conv1, self.bn1 = nn.Conv2d(i, m, 1, groups=self.g, bias=False), nn.BatchNorm2d(m)
        self.conv2, self.bn2 = depthwise(m, s), nn.BatchNorm2d(m)
        self.conv3, self.bn3 = nn.Conv2d(m, o, 1, groups=groups, bias=False), nn.BatchNorm2d(o)

    def forward(self, x):
        y = shuffle(F.relu(self.bn1(self.conv1(x))), self.g)
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + x if self.s == 1 else torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1))


class Split(nn.Module):
    def __init__(self, c):
        super().__init__()
        c //= 2
        self.conv1, self.bn1 = conv(c, c, 1), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = depthwise(c, 1), nn.BatchNorm2d(c)
        self.conv3, self.bn3 = conv(c, c, 1), nn.BatchNorm2d(c)

    def forward(self, x):
        x, y = x.chunk(2, 1)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(y)))))
        return shuffle(torch.cat([x, F.relu(self.bn3(self.conv3(y)))], 1), 2)


class Down(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        m = o // 2
        self.conv1, self.bn1, self.conv2, self.bn2 = depthwise(i, 2), nn.BatchNorm2d(i), conv(i, m, 1), nn.BatchNorm2d(m)
        self.conv3, self.bn3, self.conv4, self.bn4 = conv(i, m, 1), nn.BatchNorm2d(m), depthwise(m, 2), nn.BatchNorm2d(m)
        self.conv5, self.bn5 = conv(m, m, 1), nn.BatchNorm2d(m)

    def forward(self, x):
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.bn4(self.conv4(F.relu(self.bn3(self.conv3(x)))))
        return shuffle(torch.cat([left, F.relu(self.bn5(self.conv5(right)))], 1), 2)


class ShuffleNet(nn.Module):
    """stage: from the input and output channels of a stage and its number, its units."""
    def __init__(self, kernel, widths, stage, last=None):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 24, kernel), nn.BatchNorm2d(24)
        i = 24
        for n, o in enumerate(widths):
            setattr(self, f"layer{n + 1}", nn.Sequential(*stage(i, o, n)))
            i = o
        if last:
            self.conv2, self.bn2 = conv(i, last, 1), nn.BatchNorm2d(last)
        self.linear = nn.Linear(last or i, 10)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear((F.relu(self.bn2(self.conv2(x))) if hasattr(self, "conv2") else x).mean((2, 3)))


def shuffle1(i, o, n):
    return [Shuffle1(i, o, 2, 2)] + [Shuffle1(o, o, 1, 2) for _ in range((3, 7, 3)[n])]


def shuffle2(i, o, n):
    return [Down(i, o)] + [Split(o) for _ in range((3, 7, 3)[n])]


def every(i):
    return list(range(i))


def powers(i):
    return [i - 2**m for m in range(i.bit_length())]


SMALL, WIDE = (16, 32, 64), (64, 128, 256)
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
TEN, TWO = [(0.0005, 10), (0.05, 2)], [(0.002, 2)]
# Where a ReLU or a maximum is within rounding of a tie, two correct programs part; deep or depthwise networks amplify it. MobileNets at
# 0.0002: PyTorch agrees with itself to no more than 2e-4 after one step. VGG-16 at 0.002, batch 4: Winograd and direct differ by 4e-4.
GENTLE = [(2e-5, 2)]
# ShuffleNet at 2e-5, batch 8: PyTorch's second losses with oneDNN, without it and in channels_last part by 1.7e-4; at 5e-6 by 6e-5.
GENTLER = [(5e-6, 2)]
# name: network, batch, runs (lr, steps) from the same start
CASES = {
    "resnet20": (lambda: ResNet(3, SMALL, lambda *a: Basic(*a, "A")), 32, TEN),
    "resnet20-b": (lambda: ResNet(3, SMALL, lambda *a: Basic(*a, "B")), 8, TWO),
    "resnet29-bottleneck": (lambda: ResNet(3, WIDE, Bottle), 8, TWO),
    "preact-resnet20": (lambda: PreActResNet(3, SMALL, lambda *a: PreAct(*a, "B")), 32, TEN),
    "preact-resnet20-a": (lambda: PreActResNet(3, SMALL, lambda *a: PreAct(*a, "A")), 8, TWO),
    "preact-resnet29-bottleneck": (lambda: PreActResNet(3, WIDE, PreActBottle), 8, TWO),
    "vgg16-bn": (lambda: Vgg(VGG16), 4, GENTLE),
    "wrn16-4": (lambda: PreActResNet(2, WIDE, lambda *a: PreAct(*a, "B")), 4, TWO),
    "mobilenetv1": (MobileNetV1, 16, GENTLE),
    "mobilenetv2": (MobileNetV2, 16, GENTLE),
    "densenet40-12": (lambda: DenseNet(12, 16, 12, False, every), 4, TWO),
    "densenet-bc100-12": (lambda: DenseNet(16, 24, 12, True, every), 2, TWO),
    "dpn26": (lambda: Dpn((2, 2, 2, 2)), 4, GENTLE),
    "googlenet": (GoogLeNet, 4, GENTLE),
    "shufflenet-g2": (lambda: ShuffleNet(1, (200, 400, 800), shuffle1), 8, GENTLER),
    "shufflenetv2-x0.5": (lambda: ShuffleNet(3, (48, 96, 192), shuffle2, 1024), 8, GENTLE),
    "sparsenet40-12": (lambda: DenseNet(12, 24, 12, False, powers), 4, TWO),
}
IMAGES, LABELS, PATTERNS = 1_000_000, 2_000_000, 3_000_000


def unit(stream, n):
    """n numbers in [0, 1): 24 bits of SplitMix64's finaliser of (stream, index)."""
    z = (np.uint64(stream) << np.uint64(32)) + np.arange(n, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) / 2**24


def value(name, shape, u):
    if name.endswith("running_var"):
        return 0.5 + u
    if len(shape) == 4 and shape[1] == 1:  # depthwise
        return (2 * u - 1) * math.sqrt(6 / (shape[2] * shape[3]))
    if len(shape) == 4:
        return (2 * u - 1) * math.sqrt(6 / (shape[0] * shape[2] * shape[3]))
    if len(shape) == 2:
        return (2 * u - 1) / math.sqrt(shape[1])
    if name.endswith("weight"):
        return 0.75 + 0.5 * u
    return 0.2 * (2 * u - 1)


def spread(stream, n):
    """n numbers of variance 1."""
    return torch.from_numpy(((2 * unit(stream, n) - 1) * math.sqrt(3)).astype(np.float32))


def images(step, batch):
    """A coarse pattern per class, 8x8 enlarged to 32x32, plus a quarter of noise."""
    patterns = spread(PATTERNS, 10 * 3 * 8 * 8).reshape(10, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    return 0.25 * spread(IMAGES + step, batch * 3 * 32 * 32).reshape(batch, 3, 32, 32) + patterns[labels(step, batch)]


def labels(step, batch):
    return torch.from_numpy((unit(LABELS + step, batch) * 10).astype(np.int64))


def fill(model):
    entries = [(k, v) for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")]
    for stream, (name, tensor) in enumerate(entries):
        values = value(name, tensor.shape, unit(stream, tensor.numel()))
        tensor.copy_(torch.from_numpy(values.astype(np.float32)).reshape(tensor.shape))
    return [name for name, _ in entries]


def evaluate(model, batch, layout):
    model.eval()
    with torch.no_grad():
        return model(images(0, batch).contiguous(memory_format=layout)).flatten().tolist()


def train(make, batch, lr, steps, layout):
    model = make()
    fill(model)
    model = model.to(memory_format=layout)
    opt = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    model.train()
    losses = []
    for step in range(1, steps + 1):
        x = images(step, batch).contiguous(memory_format=layout)
        loss = F.cross_entropy(model(x), labels(step, batch))
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return dict(lr=lr, losses=losses, after=evaluate(model, batch, layout))


def case(make, batch, runs, layout=torch.contiguous_format):
    model = make()
    names = fill(model)
    logits = evaluate(model.to(memory_format=layout), batch, layout)
    return dict(batch=batch, names=names, logits=logits, runs=[train(make, batch, *run, layout) for run in runs])


def apart(a, b):
    return np.abs(np.subtract(a, b)).max() / np.abs(a).max()


if __name__ == "__main__":
    named = [a for a in sys.argv[1:] if a != "--check"] or list(CASES)
    made = {name: case(*CASES[name]) for name in named}
    if "--check" in sys.argv:
        for name in named:
            a, b = made[name], case(*CASES[name], torch.channels_last)
            print(name, "logits", apart(a["logits"], b["logits"]))
            for r, s in zip(a["runs"], b["runs"]):
                print("  lr", r["lr"], "losses", apart(r["losses"], s["losses"]), "logits after", apart(r["after"], s["after"]))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models.json")
    short = json.loads(json.dumps(made), parse_float=lambda v: float(f"{float(v):.9g}"))
    if len(named) < len(CASES):
        short = {**json.load(open(path)), **short}
    lines = (f"{json.dumps(name)}:{json.dumps(short[name], separators=(',', ':'))}" for name in CASES if name in short)
    with open(path, "w") as f:
        f.write("{\n" + ",\n".join(lines) + "\n}\n")
