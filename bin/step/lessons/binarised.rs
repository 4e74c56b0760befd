//! ProxylessNAS: one path runs, all architecture parameters learn.

use super::{Desk, Lesson};
use engine::Tensor;

pub(super) const LESSON: Lesson = Lesson {
    name: "binarised-path",
    title: "A binarised path and its architecture gradient",
    intro: "ProxylessNAS chooses between candidate ops by architecture parameters `alpha`. Their softmax `p` says how likely each candidate is; a gate \
            draws one, so that forward `gate = [1, 0, 0]` and only that candidate runs.\n\n\
            A drawn gate has no derivative, so one is lent to it: `gate = p + (drawn - p)`, where what stands in brackets is a constant. Forward it is \
            the drawn gate, backward it is `p` (Cai et al. 2019, section 3.2, after BinaryConnect). Here three candidates compete: a layer, a skip and the zero op.",
    program,
};

fn program(desk: &mut Desk) -> Tensor {
    let x = desk.input("x", Tensor::from_slice([1, 3], &[1.0, -0.5, 2.0]));
    let alpha = desk.parameter("alpha", Tensor::from_slice([1, 3], &[0.5, 0.2, -0.4]));
    let w = desk.parameter("w", Tensor::from_slice([3, 3], &[0.6, -0.2, 0.1, 0.3, 0.5, -0.4, -0.1, 0.2, 0.7]));
    let log_p = desk.name("log p", alpha.log_softmax());
    let p = desk.name("p", log_p.exp());
    let drawn = Tensor::from_slice([1, 3], &[1.0, 0.0, 0.0]);
    let lent = Tensor::from_fn([1, 3], |i| drawn.data()[i] - p.data()[i]);
    let gate = desk.name("gate", p.add(&lent));
    let candidates = [
        desk.name("layer", x.matmul(&w).relu()),
        desk.name("skip", x.scale(1.0)),
        // Multiplied, not left out: an op without an edge would leave its gate without a gradient.
        desk.name("zero", x.scale(0.0)),
    ];
    let mut gated = vec![];
    for (k, (candidate, name)) in candidates.iter().zip(["layer", "skip", "zero"]).enumerate() {
        let own = desk.name(&format!("gate of {name}"), gate.slice_channels(k..k + 1));
        gated.push(desk.name(&format!("gated {name}"), candidate.mul(&own)));
    }
    let two = desk.name("layer + skip", gated[0].add(&gated[1]));
    let y = desk.name("y", two.add(&gated[2]));
    let wanted = Tensor::from_slice([1, 3], &[-1.0, 0.5, -2.0]);
    let miss = desk.name("y - wanted", y.add(&wanted));
    let squares = desk.name("squares", miss.mul(&miss));
    let loss = desk.name("loss", squares.sum());

    desk.forward("p", "Softmax of alpha: 0.47, 0.34 and 0.19.");
    desk.forward(
        "gate",
        "Forward, the drawn gate: 1 for the layer, 0 for the others. The constant that was added is `drawn - p`.",
    )
    .ask("What does the gate look like forward?", &["p", "One 1 and zeros", "All ones"], 1);
    desk.forward(
        "gated skip",
        "Times a gate of 0. A search would not even run this candidate; here it runs so that its gradient can be seen.",
    );
    desk.forward("y", "Only the layer's output is left.");
    desk.backward(
        "gated skip",
        "The candidate behind a closed gate gets nothing, `0 * g`. But its gate gets `sum of g * output`: to first order, what \
         letting this candidate in would add to the loss.",
    )
    .ask("The gate is 0. What is its gradient?", &["0", "The product of g with the candidate's output", "That of alpha"], 1);
    desk.backward(
        "gated zero",
        "The zero op's output is 0, so its gate's gradient is 0: a real edge with nothing to say.",
    );
    desk.backward(
        "gate",
        "Backward, the gate is `p`: what arrives at the gate is handed on as if nothing had been drawn.",
    );
    desk.backward(
        "alpha",
        "Through the softmax: `p_i * (g_i - sum of p_j g_j)`. The gradients of the three alphas sum to 0: one candidate gains what the others lose.",
    )
    .ask("What do the three gradients of alpha sum to?", &["0", "1", "The loss"], 0);
    loss
}
