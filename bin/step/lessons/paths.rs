//! Dense and sparse aggregation: how many steps a gradient takes.

use super::{Desk, Lesson};
use crate::step::record::{Leaf, Role};
use engine::Tensor;
use engine::ops::concat;
use engine::rng::{Rng, purpose};
use nn::aggregation::Gather;

pub(super) const LESSON: Lesson = Lesson {
    name: "dense-and-sparse",
    title: "Dense and sparse paths",
    intro: "Two blocks of eight layers that concatenate what they read. In the dense one layer `i` reads all layers before it; in the sparse one \
            only those 1, 2, 4 and 8 back.\n\n\
            In the dense block the exit reads every layer, so every layer is one step from the loss, but it costs links in the square of the depth. In \
            the sparse block a gradient takes as many steps as its distance has ones in binary: over a distance of 7 = 111 it takes 3, over 8 = 1000 just \
            one. So a few links a layer still leave every layer at most log2 of the depth away.",
    program,
};

const LAYERS: usize = 8;
const WIDTH: usize = 3;

fn program(desk: &mut Desk) -> Tensor {
    let normal = |shape: [usize; 2], stream: [u64; 2]| {
        let mut rng = Rng::new(0, &[purpose::TEST, stream[0], stream[1]]);
        let std = (2.0 / shape[0] as f32).sqrt();
        Tensor::from_fn(shape, |_| rng.normal() * std)
    };
    let x = desk.input("x", normal([2, WIDTH], [9, 9]));
    let mut means = vec![];
    for (network, (block, gather)) in [("dense", Gather::All), ("sparse", Gather::Base(2))].into_iter().enumerate() {
        let mut outputs = vec![x.clone()];
        for layer in 1..=LAYERS {
            let sources = gather.sources(layer);
            let read = concat(&sources.iter().map(|&source| &outputs[source]).collect::<Vec<_>>());
            let read = desk.name(&format!("{block}.{layer}.concat"), read);
            let weight = normal([WIDTH * sources.len(), WIDTH], [network as u64, layer as u64]).requires_grad();
            let name = format!("{block}.{layer}.linear.weight");
            desk.leaves([Leaf { name, role: Role::Parameter, tensor: weight.clone() }]);
            outputs.push(desk.name(&format!("{block}.{layer}.relu"), read.matmul(&weight).relu()));
        }
        let sources = gather.sources(LAYERS + 1);
        let exit = concat(&sources.iter().map(|&source| &outputs[source]).collect::<Vec<_>>());
        let exit = desk.name(&format!("{block}.exit"), exit);
        let squares = desk.name(&format!("{block}.squares"), exit.mul(&exit));
        let sum = desk.name(&format!("{block}.sum"), squares.sum());
        means.push(desk.name(&format!("{block}.mean"), sum.scale(1.0 / exit.data().len() as f32)));
    }
    let loss = desk.name("loss", means[0].add(&means[1]));

    desk.forward("dense.exit", "The exit of the dense block reads all nine: `x` and the eight layers.");
    desk.forward(
        "sparse.8.concat",
        "Layer 8 of the sparse block reads layers 7, 6, 4 and 0, which is `x`: 1, 2, 4 and 8 back.",
    );
    desk.forward("sparse.exit", "The exit stands where layer 9 would, and reads layers 8, 7, 5 and 1.").ask(
        "Which layers of the sparse block does the exit read?",
        &["All", "8, 7, 5 and 1", "8 alone"],
        1,
    );
    desk.backward("sparse.exit", "Layer 1 gets a gradient at once: its distance, 8, is 1000 in binary, one step.");
    desk.backward(
        "sparse.2.relu",
        "Layer 2 is 7 = 111 from the exit, so its gradient came in no fewer than three steps, as by 8 and 4. Choose what arrives here to see who \
         contributed: layers 3, 4 and 6, those 1, 2 and 4 after it.",
    )
    .ask("How many steps is layer 2 from the exit, 7 layers on?", &["1", "3", "7"], 1);
    desk.backward(
        "dense.2.relu",
        "In the dense block the same layer has a contribution from every layer after it, and from the exit itself: one step.",
    );
    desk.backward(
        "x",
        "`x` is read by every dense layer, by the dense exit, and by the sparse layers 1, 2, 4 and 8: thirteen contributions, and its gradient is \
         their sum.",
    );
    loss
}
