//! Stochastic gradient descent with momentum.

/// One step of one parameter. With `g` the gradient and `wd` the decay:
///
/// ```text
/// coupled:    g += wd * w            decoupled:  w *= 1 - lr * wd
/// buffer = momentum * buffer + g     (from 0, so that the first step stores g)
/// w -= lr * (g + momentum * buffer)  Nesterov
/// w -= lr * buffer                   otherwise
/// ```
///
/// # Source
/// `torch.optim.SGD` (dampening 0), operation by operation. Decoupled decay is that of Loshchilov and Hutter 2019 (arXiv:1711.05101),
/// applied as `torch.optim.AdamW` does.
pub(super) struct Sgd {
    pub lr: f32,
    pub momentum: f32,
    pub nesterov: bool,
    pub weight_decay: f32,
    pub decoupled: bool,
}

impl Sgd {
    pub fn update(&self, weights: &mut [f32], grad: &[f32], buffer: &mut [f32]) {
        let (coupled, kept) =
            if self.decoupled { (0.0, 1.0 - self.lr * self.weight_decay) } else { (self.weight_decay, 1.0) };
        if self.momentum == 0.0 {
            for (w, g) in weights.iter_mut().zip(grad) {
                let g = g + coupled * *w;
                *w = *w * kept - self.lr * g;
            }
            return;
        }
        for ((w, g), buffer) in weights.iter_mut().zip(grad).zip(buffer) {
            let g = g + coupled * *w;
            *buffer = self.momentum * *buffer + g;
            let direction = if self.nesterov { g + self.momentum * *buffer } else { *buffer };
            *w = *w * kept - self.lr * direction;
        }
    }
}
