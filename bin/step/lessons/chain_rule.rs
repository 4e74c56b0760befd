//! The chain rule on five numbers.

use super::{Desk, Lesson};
use engine::Tensor;

pub(super) const LESSON: Lesson = Lesson {
    name: "chain-rule",
    title: "The chain rule on five numbers",
    intro: "Five numbers, `a` to `e`, and four ops: `(a * b + c)` is squashed by `tanh`, then `d` scales it and `e` shifts it.\n\n\
            Going forward, each op computes its output. Going back, each op receives one number, the derivative of the loss with respect to \
            its output, and multiplies it by its own local derivative to get that of each input. That product is all the chain rule is; nothing \
            in it looks further than one op.",
    program,
};

fn program(desk: &mut Desk) -> Tensor {
    let mut number = |name: &str, value| desk.parameter(name, Tensor::scalar(value));
    let (a, b, c) = (number("a", 2.0), number("b", -1.5), number("c", 2.5));
    let (d, e) = (number("d", 3.0), number("e", 1.0));
    let product = desk.name("a*b", a.mul(&b));
    let sum = desk.name("a*b + c", product.add(&c));
    let squashed = desk.name("tanh", sum.tanh());
    let scaled = desk.name("d * tanh", d.mul(&squashed));
    let loss = desk.name("loss", scaled.add(&e));

    desk.forward(
        "a*b",
        "`2 * -1.5 = -3`. The op remembers both factors: the derivative with respect to one is the other.",
    );
    desk.forward(
        "tanh",
        "`tanh(-0.5) = -0.462`. For the way back it keeps its output alone: the derivative is `1 - y*y`.",
    )
    .ask("tanh squashes any number into which range?", &["0 to 1", "-1 to 1", "-0.5 to 0.5"], 1);
    desk.forward("loss", "The number whose derivatives we want. The backward pass starts here with `dL/dL = 1`.");
    desk.backward("loss", "An addition hands its gradient to both sides unchanged. So `e` is done: if `e` grows by 0.01, so does the loss.")
        .ask("What is the derivative of the loss with respect to e?", &["0", "1", "its value, 1.0 times d"], 1);
    desk.backward(
        "d * tanh",
        "A product hands each side the gradient times the other side: `d` gets `1 * tanh = -0.462`, `tanh` gets `1 * d = 3`.",
    )
    .ask("Which gradient reaches d?", &["3, its own value", "-0.462, the other factor", "1, what came in"], 1);
    desk.backward(
        "tanh",
        "What comes in, 3, times the local derivative `1 - 0.462 * 0.462 = 0.786`: 2.36. Deep in its flat parts tanh multiplies by almost \
         nothing, and the gradient vanishes there.",
    );
    desk.backward(
        "a",
        "`a` gets `2.36 * b = -3.54`: raising `a` lowers the loss. Read from the loss back, this number is a product of one factor for each op \
         on the way, `1 * 3 * 0.786 * -1.5`.",
    )
    .ask("How many factors are in dL/da?", &["One", "One for each op between a and the loss", "One for each of the five numbers"], 1);
    loss
}
