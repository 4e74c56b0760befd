//! Adam and AdamW.

use super::decimal;

/// One step of one parameter, the `step`-th of this parameter counted from 1:
///
/// ```text
/// coupled (Adam):  g += wd * w       decoupled (AdamW):  w *= 1 - lr * wd
/// mean   += (1 - beta1) * (g - mean)
/// square  = beta2 * square + (1 - beta2) * g * g
/// w -= lr / (1 - beta1^step) * mean / (sqrt(square) / sqrt(1 - beta2^step) + eps)
/// ```
///
/// # Source
/// Kingma and Ba 2015 (arXiv:1412.6980), Loshchilov and Hutter 2019 (arXiv:1711.05101); `torch.optim.Adam` and
/// `torch.optim.AdamW`, operation by operation.
pub(super) struct Adam {
    pub lr: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    pub weight_decay: f32,
    pub decoupled: bool,
}

impl Adam {
    pub fn update(&self, weights: &mut [f32], grad: &[f32], mean: &mut [f32], square: &mut [f32], step: u64) {
        let (coupled, kept) =
            if self.decoupled { (0.0, 1.0 - self.lr * self.weight_decay) } else { (self.weight_decay, 1.0) };
        // In f64 from the decimal number: 1 - 0.999 is off by 1e-5 of itself in f32.
        let (beta1, beta2) = (decimal(self.beta1), decimal(self.beta2));
        let (new1, new2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
        let step_size = (decimal(self.lr) / (1.0 - libm::pow(beta1, step as f64))) as f32;
        let scale = libm::sqrt(1.0 - libm::pow(beta2, step as f64)) as f32;
        for (((w, g), mean), square) in weights.iter_mut().zip(grad).zip(mean).zip(square) {
            let g = g + coupled * *w;
            *mean += new1 * (g - *mean);
            *square = self.beta2 * *square + new2 * (g * g);
            *w = *w * kept - step_size * (*mean / (square.sqrt() / scale + self.eps));
        }
    }
}
