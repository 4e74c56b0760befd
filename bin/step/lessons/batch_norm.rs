//! The gradient of batch norm.

use super::{Desk, Lesson};
use engine::Tensor;

pub(super) const LESSON: Lesson = Lesson {
    name: "batch-norm",
    title: "Batch norm: why statistics have gradients",
    intro: "Four examples, two channels. Batch norm takes each channel's mean and variance over the batch, subtracts and divides: every example \
            has a hand in what happens to every other.\n\n\
            Here it is written out in plain ops, so that its three paths back to `x` can be seen apart: straight through, through the mean, and through \
            the variance. Leaving out the last two, as if the statistics were constants, is the classic mistake: switch on \"break it\" at an op to see \
            such a gradient caught.",
    program,
};

fn program(desk: &mut Desk) -> Tensor {
    let x = desk.input("x", Tensor::from_slice([4, 2], &[1.0, 10.0, 2.0, 14.0, 4.0, 11.0, 5.0, 5.0]));
    let gamma = desk.parameter("gamma", Tensor::from_slice([2], &[1.5, 0.5]));
    let beta = desk.parameter("beta", Tensor::from_slice([2], &[0.0, 1.0]));
    let wanted = Tensor::from_slice([4, 2], &[0.5, -1.0, 0.0, 2.0, -1.5, 0.5, 2.0, -0.5]);
    let mean = desk.name("mean", x.mean_axis(0, true));
    let centred = desk.name("x - mean", x.sub(&mean));
    let var = desk.name("var", centred.mul(&centred).mean_axis(0, true));
    let sigma = desk.name("sigma", var.add_scalar(1e-5).sqrt());
    let normal = desk.name("x_hat", centred.div(&sigma));
    let y = desk.name("y", normal.affine(&gamma, &beta));
    let weighted = desk.name("y * constants", y.mul(&wanted));
    let loss = desk.name("loss", weighted.sum());

    desk.forward("mean", "One mean for each channel, over the examples: 3 and 10.");
    desk.forward("x_hat", "Mean 0, variance 1 in each channel, whatever the scale of `x` was.").ask(
        "All of x times 100: what becomes of x_hat?",
        &["100 times as large", "The same", "100 times smaller"],
        1,
    );
    desk.backward("y", "gamma scales what goes back; gamma and beta themselves sum over the batch.");
    desk.backward(
        "x_hat",
        "A quotient: the centred values get `g / sigma` each, the one sigma gets `-sum of g x_hat / sigma` from all examples.",
    );
    desk.backward(
        "sigma",
        "What the statistics hear: how the loss would change if sigma alone were larger, from all four examples.",
    );
    desk.backward(
        "x - mean",
        "The paths meet. Each example gets its own gradient, and the mean gets minus the sum of all: it will hand an equal share back to each.",
    );
    desk.backward(
        "x",
        "The two contributions to `x` add up to 0 in each channel: adding a constant to a whole channel changes nothing, so its gradient has no \
         such part. It has none along `x_hat` either (but for the epsilon): stretching the channel changes nothing.",
    )
    .ask("What is the sum of the gradient over the four examples?", &["0", "gamma / sigma", "It depends on the loss"], 0);
    loss
}
