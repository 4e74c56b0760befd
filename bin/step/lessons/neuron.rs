//! One neuron: a weighted sum, a sigmoid and a loss.

use super::{Desk, Lesson};
use engine::Tensor;

pub(super) const LESSON: Lesson = Lesson {
    name: "one-neuron",
    title: "One neuron",
    intro: "A neuron with three inputs decides yes or no: `z = x w + b`, `p = sigmoid(z)`. The right answer is yes, so the loss is \
            `-log p`, the surprise at it.\n\n\
            Watch what happens to `dL/dz`: sigmoid and logarithm, each with an awkward derivative of its own, together leave `p - 1`.",
    program,
};

fn program(desk: &mut Desk) -> Tensor {
    let x = desk.input("x", Tensor::from_slice([1, 3], &[1.0, -2.0, 0.5]));
    let w = desk.parameter("w", Tensor::from_slice([3, 1], &[0.4, 0.3, -0.2]));
    let b = desk.parameter("b", Tensor::from_slice([1], &[-0.1]));
    let sum = desk.name("x w", x.matmul(&w));
    let z = desk.name("z", sum.add(&b));
    let p = desk.name("p", z.sigmoid());
    let log = desk.name("log p", p.log());
    let loss = desk.name("loss", log.neg().sum());

    desk.forward("x w", "Each input is multiplied by its weight: `0.4 - 0.6 - 0.1 = -0.3`.");
    desk.forward(
        "p",
        "The sigmoid makes a probability of any number: `1 / (1 + exp(0.4)) = 0.401`. The neuron tends to no.",
    );
    desk.forward("loss", "`-log 0.401 = 0.913` nats. Had the neuron been sure of yes, it would be near 0.").ask(
        "What would the loss be at p = 1?",
        &["0", "1", "infinite"],
        0,
    );
    desk.backward("log p", "The logarithm hands on `-1 / p = -2.49`. The smaller `p`, the louder.");
    desk.backward(
        "p",
        "The sigmoid multiplies by `p (1 - p) = 0.24`, and `-1/p * p (1 - p) = p - 1 = -0.599`. The two awkward derivatives cancel: what is \
         left is prediction minus target.",
    )
    .ask("What reaches z?", &["p - 1", "1 / p", "p (1 - p)"], 0);
    desk.backward("b", "The bias is added, so it gets the same `-0.599`.");
    desk.backward(
        "w",
        "Each weight gets its own input times `p - 1`: `[-0.599, 1.198, -0.299]`. Against it, `w` grows where `x` is positive and shrinks \
         where it is negative: both raise `z`.",
    )
    .ask("Which weight has the largest gradient?", &["The largest weight, 0.4", "That of the largest input, -2", "All the same"], 1);
    loss
}
