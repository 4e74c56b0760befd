//! Forty layers with and without a bypass.

use super::{Desk, Lesson};
use crate::step::record::{Leaf, Role};
use engine::Tensor;
use engine::rng::{Rng, purpose};

pub(super) const LESSON: Lesson = Lesson {
    name: "plain-and-residual",
    title: "Forty layers, plain and residual",
    intro: "Two networks of forty layers with the same weights, one after the other on one tape. The plain one is `h = relu(h W)`; the residual one \
            `h = h + relu(h W)`: the same layer with a bypass around it. The weights are drawn half as large as would keep the norm (He et al. 2015), \
            so that depth shows.\n\n\
            The backward pass walks the residual network first, then the plain one. Watch the norm of the gradient: every plain layer here multiplies \
            it by something below 1, and forty such factors leave nothing. The bypass hands it on whole, and the branches add to it: it grows from \
            layer to layer, but it arrives.",
    program,
};

const LAYERS: usize = 40;
const WIDTH: usize = 12;

fn program(desk: &mut Desk) -> Tensor {
    let normal = |shape: [usize; 2], index: u64, std: f32| {
        let mut rng = Rng::new(0, &[purpose::TEST, index]);
        Tensor::from_fn(shape, |_| rng.normal() * std)
    };
    let x = desk.input("x", normal([4, WIDTH], 0, 1.0));
    // He's deviation is the whole of this: both networks are shown where depth hurts.
    let std = 0.5 * (2.0 / WIDTH as f32).sqrt();
    let readout = normal([4, WIDTH], 99, 0.1);
    let mut ends = vec![];
    for (network, bypass) in [("plain", false), ("residual", true)] {
        let mut h = x.clone();
        for layer in 1..=LAYERS {
            let weight = normal([WIDTH, WIDTH], layer as u64, std).requires_grad();
            let name = format!("{network}.{layer}.linear.weight");
            desk.leaves([Leaf { name, role: Role::Parameter, tensor: weight.clone() }]);
            let branch = h.matmul(&weight).relu();
            h = if bypass { h.add(&branch) } else { branch };
        }
        ends.push(desk.name(network, h.mul(&readout).sum()));
    }
    let loss = desk.name("loss", ends[0].add(&ends[1]));

    desk.forward(
        "plain.1.linear",
        "The first of forty layers. Both networks start from the same `x` and use the same forty weights.",
    );
    desk.forward(
        "plain",
        "What comes out, times fixed numbers, summed. The gradient of the output is these numbers, the same for both networks.",
    );
    desk.forward("residual.1.add", "The bypass: the layer's output is added to its input.");
    desk.backward(
        "residual.40.add",
        "An addition hands its gradient to both sides unchanged: one copy goes into the layer, the other around it.",
    )
    .ask("What does the bypass do to a gradient of norm 1?", &["Halves it", "Passes it on whole", "Squares it"], 1);
    desk.backward(
        "residual.1.linear",
        "Forty layers later. At the output of the first layer the gradient has norm {grad residual.1.add}, from {grad residual.40.add} at the end: each \
         branch added its part to what came by the bypass. Real networks hold such growth down by normalising within the branch.",
    );
    desk.backward(
        "plain.40.relu",
        "Now the plain network: there is no way around. Its gradient starts at norm {grad plain.40.relu}.",
    )
    .ask(
        "After forty layers without a bypass, how much of this norm is left?",
        &["About all", "A hundredth", "Less than a millionth"],
        2,
    );
    desk.backward("plain.20.linear", "Half way: {grad plain.20.linear}.");
    desk.backward(
        "plain.1.linear",
        "The first layer's output has a gradient of norm {grad plain.1.linear}. A step of any reasonable learning rate does not move its weights: \
         this is what a bypass is for.",
    );
    loss
}
