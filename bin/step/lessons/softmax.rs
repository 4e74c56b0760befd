//! Softmax and cross-entropy, step by step and as one op.

use super::{Desk, Lesson};
use engine::Tensor;

pub(super) const LESSON: Lesson = Lesson {
    name: "softmax-cross-entropy",
    title: "Softmax and cross-entropy",
    intro: "Two examples, three classes. The loss is computed twice from the same logits: the long way (exponentials, their sum, a quotient, a \
            logarithm, the right class picked out) and by the one op `cross_entropy`. Half of each makes the loss.\n\n\
            Both halves send their gradient back to the logits. Compare the two contributions: they agree, though the long way is seven ops and the \
            short way is `softmax - target`.",
    program,
};

fn program(desk: &mut Desk) -> Tensor {
    let logits = desk.parameter("logits", Tensor::from_slice([2, 3], &[2.0, 1.0, -1.0, 0.5, 0.0, 1.5]));
    let labels = [0, 1];
    let target = Tensor::from_fn([2, 3], |i| if i % 3 == labels[i / 3] { 1.0 } else { 0.0 });
    let powers = desk.name("exp", logits.exp());
    let total = desk.name("sum of exp", powers.sum_axis(1, true));
    let softmax = desk.name("softmax", powers.div(&total));
    let logarithm = desk.name("log softmax", softmax.log());
    let picked = desk.name("right class", logarithm.mul(&target));
    let sum = desk.name("sum of both", picked.sum());
    let long = desk.name("long way", sum.scale(-0.5));
    let short = desk.name("cross_entropy", logits.cross_entropy(&labels, 0.0));
    let both = desk.name("both ways", long.add(&short));
    let loss = desk.name("loss", both.scale(0.5));

    desk.forward("softmax", "Each row sums to 1. The second example gives most, 0.63, to class 2, but its class is 1.");
    desk.forward(
        "right class",
        "The target is 1 for the right class and 0 elsewhere, so the product keeps one logarithm a row.",
    );
    desk.forward(
        "cross_entropy",
        "The same number in one op, computed from the largest logit down so that no exponential overflows.",
    )
    .ask("Which example costs more?", &["The first, which is right", "The second, which is wrong"], 1);
    desk.backward(
        "cross_entropy",
        "The short way: `(softmax - target) / N`. For the right class that is negative (raise that logit), for the others positive, and each row \
         sums to 0.",
    )
    .ask(
        "What is the sign of the gradient at the right class?",
        &["Positive", "Negative", "Zero"],
        1,
    );
    desk.backward(
        "softmax",
        "The quotient has two inputs: the powers get `g / total`, and their total gets all that is common to a row.",
    );
    desk.backward(
        "exp",
        "Here the long way arrives at the logits. Two contributions now lie at the logits, one of each way, and agree to the last digits. Their sum \
         is the gradient.",
    )
    .ask("How do the two contributions compare?", &["The long way is larger", "They are the same", "They cancel"], 1);
    loss
}
