//! Residual units, `y = x + f(x)`: batch norm and ReLU after each convolution (2015) or before it (2016).

use super::shortcut::{Shortcut, ShortcutKind};
use crate::context::Context;
use crate::init::Builder;
use crate::layers::{BatchNorm2d, Conv2d, relu};
use crate::module::{Layer, Module, Visitor};
use engine::ops::sum_lazy;
use engine::{Activation, Lazy};

/// `y = relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))`, both convolutions 3x3.
///
/// # Source
/// He et al. 2015 (arXiv:1512.03385), figure 2; names of akamaster/pytorch_resnet_cifar10.
pub struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    shortcut: Shortcut,
}

impl BasicBlock {
    /// A unit from `c_in` to `c_out` channels; `stride` is that of the first convolution.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize, stride: usize, kind: ShortcutKind) -> BasicBlock {
        BasicBlock {
            conv1: b.conv(c_in, c_out, 3, stride),
            bn1: b.batch_norm(c_out),
            conv2: b.conv(c_out, c_out, 3, 1),
            bn2: b.batch_norm(c_out),
            shortcut: Shortcut::new(b, kind, (c_in, c_out), stride, true),
        }
    }
}

impl Layer for BasicBlock {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let z = self.conv1.forward(x.clone(), ctx);
        let z = self.conv2.forward(relu(self.bn1.forward(z, ctx)), ctx);
        sum_lazy(&[self.bn2.forward(z, ctx), self.shortcut.forward(x, x, ctx)], Activation::Relu, false).into()
    }
}

impl Module for BasicBlock {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        visitor.module("conv2", &self.conv2);
        visitor.module("bn2", &self.bn2);
        visitor.module("shortcut", &self.shortcut);
    }
}

/// `y = relu(shortcut(x) + bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))))`: 1x1 to a quarter of the channels, 3x3, 1x1 back.
///
/// # Source
/// He et al. 2015 (arXiv:1512.03385), figure 5; the stride sits on the first 1x1, as there.
pub struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Conv2d,
    bn3: BatchNorm2d,
    shortcut: Shortcut,
}

impl Bottleneck {
    /// A unit from `c_in` to `c_out` channels, `c_out / 4` within; `stride` is that of the first convolution.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize, stride: usize, kind: ShortcutKind) -> Bottleneck {
        let inner = c_out / 4;
        Bottleneck {
            conv1: b.conv(c_in, inner, 1, stride),
            bn1: b.batch_norm(inner),
            conv2: b.conv(inner, inner, 3, 1),
            bn2: b.batch_norm(inner),
            conv3: b.conv(inner, c_out, 1, 1),
            bn3: b.batch_norm(c_out),
            shortcut: Shortcut::new(b, kind, (c_in, c_out), stride, true),
        }
    }
}

impl Layer for Bottleneck {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let z = self.conv1.forward(x.clone(), ctx);
        let z = self.conv2.forward(relu(self.bn1.forward(z, ctx)), ctx);
        let z = self.conv3.forward(relu(self.bn2.forward(z, ctx)), ctx);
        sum_lazy(&[self.bn3.forward(z, ctx), self.shortcut.forward(x, x, ctx)], Activation::Relu, false).into()
    }
}

impl Module for Bottleneck {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("conv1", &self.conv1);
        visitor.module("bn1", &self.bn1);
        visitor.module("conv2", &self.conv2);
        visitor.module("bn2", &self.bn2);
        visitor.module("conv3", &self.conv3);
        visitor.module("bn3", &self.bn3);
        visitor.module("shortcut", &self.shortcut);
    }
}

/// `a = relu(bn1(x)); y = shortcut + conv2(relu(bn2(conv1(a))))`, both convolutions 3x3. The shortcut is `x`, a projection of
/// `a` (option B) or `x` thinned and padded (option A).
///
/// # Source
/// He et al. 2016 (arXiv:1603.05027), figure 1 b.
pub struct PreActBasicBlock {
    bn1: BatchNorm2d,
    conv1: Conv2d,
    bn2: BatchNorm2d,
    conv2: Conv2d,
    shortcut: Shortcut,
}

impl PreActBasicBlock {
    /// A unit from `c_in` to `c_out` channels; `stride` is that of the first convolution.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize, stride: usize, kind: ShortcutKind) -> PreActBasicBlock {
        PreActBasicBlock {
            bn1: b.batch_norm(c_in),
            conv1: b.conv(c_in, c_out, 3, stride),
            bn2: b.batch_norm(c_out),
            conv2: b.conv(c_out, c_out, 3, 1),
            shortcut: Shortcut::new(b, kind, (c_in, c_out), stride, false),
        }
    }
}

impl Layer for PreActBasicBlock {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let a = relu(self.bn1.forward(x.clone(), ctx));
        let shortcut = self.shortcut.forward(x, &a, ctx).materialise();
        let z = self.conv1.forward(a, ctx);
        self.conv2.forward_add(relu(self.bn2.forward(z, ctx)), &shortcut, ctx).into()
    }
}

impl Module for PreActBasicBlock {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn1", &self.bn1);
        visitor.module("conv1", &self.conv1);
        visitor.module("bn2", &self.bn2);
        visitor.module("conv2", &self.conv2);
        visitor.module("shortcut", &self.shortcut);
    }
}

/// `a = relu(bn1(x)); y = shortcut + conv3(relu(bn3(conv2(relu(bn2(conv1(a)))))))`: 1x1 to a quarter of the channels, 3x3,
/// 1x1 back.
///
/// # Source
/// He et al. 2016 (arXiv:1603.05027); KaimingHe/resnet-1k-layers: the stride sits on the first 1x1.
pub struct PreActBottleneck {
    bn1: BatchNorm2d,
    conv1: Conv2d,
    bn2: BatchNorm2d,
    conv2: Conv2d,
    bn3: BatchNorm2d,
    conv3: Conv2d,
    shortcut: Shortcut,
}

impl PreActBottleneck {
    /// A unit from `c_in` to `c_out` channels, `c_out / 4` within; `stride` is that of the first convolution.
    pub fn new(b: &mut Builder, c_in: usize, c_out: usize, stride: usize, kind: ShortcutKind) -> PreActBottleneck {
        let inner = c_out / 4;
        PreActBottleneck {
            bn1: b.batch_norm(c_in),
            conv1: b.conv(c_in, inner, 1, stride),
            bn2: b.batch_norm(inner),
            conv2: b.conv(inner, inner, 3, 1),
            bn3: b.batch_norm(inner),
            conv3: b.conv(inner, c_out, 1, 1),
            shortcut: Shortcut::new(b, kind, (c_in, c_out), stride, false),
        }
    }
}

impl Layer for PreActBottleneck {
    fn forward(&self, x: &Lazy, ctx: &Context) -> Lazy {
        let a = relu(self.bn1.forward(x.clone(), ctx));
        let shortcut = self.shortcut.forward(x, &a, ctx).materialise();
        let z = self.conv1.forward(a, ctx);
        let z = self.conv2.forward(relu(self.bn2.forward(z, ctx)), ctx);
        self.conv3.forward_add(relu(self.bn3.forward(z, ctx)), &shortcut, ctx).into()
    }
}

impl Module for PreActBottleneck {
    fn visit(&self, visitor: &mut Visitor) {
        visitor.module("bn1", &self.bn1);
        visitor.module("conv1", &self.conv1);
        visitor.module("bn2", &self.bn2);
        visitor.module("conv2", &self.conv2);
        visitor.module("bn3", &self.bn3);
        visitor.module("conv3", &self.conv3);
        visitor.module("shortcut", &self.shortcut);
    }
}
