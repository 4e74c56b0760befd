//! Convolution as a matrix product.

use super::{Desk, Lesson};
use engine::ops::concat;
use engine::{Conv2d, Tensor};

pub(super) const LESSON: Lesson = Lesson {
    name: "im2col",
    title: "Convolution is a matrix product",
    intro: "A 3x3 image and two 2x2 kernels. The window stands in four places, and each place is a row of four pixels: the im2col matrix, \
            4 by 4. Times the kernels as columns, that is the convolution.\n\n\
            The program computes it this way and by the op `conv2d`, and adds the squares of both. Going back, the matrix product gives the \
            kernels' gradient, and the pixels' by undoing the copies: a pixel that stood in several rows gathers from each of them.",
    program,
};

fn program(desk: &mut Desk) -> Tensor {
    let image = desk.input("image", Tensor::from_slice([3, 3], &[1.0, 2.0, 0.0, -1.0, 3.0, 1.0, 0.5, -2.0, 1.5]));
    let kernels = desk.parameter("kernels", Tensor::from_slice([4, 2], &[1.0, 0.5, -1.0, 0.5, 0.5, -0.5, 0.0, 1.0]));
    let turned = desk.name("image turned", image.transpose());
    let mut columns = vec![];
    for ky in 0..2 {
        // Rows ky and ky + 1, then of those columns kx and kx + 1: what tap (ky, kx) sees in the four places.
        let rows = desk.name(&format!("rows {ky} turned"), turned.slice_channels(ky..ky + 2));
        let rows = desk.name(&format!("rows {ky}"), rows.transpose());
        for kx in 0..2 {
            let square = desk.name(&format!("square {ky},{kx}"), rows.slice_channels(kx..kx + 2));
            columns.push(desk.name(&format!("column {ky},{kx}"), square.reshape([4, 1])));
        }
    }
    let matrix = desk.name("im2col", concat(&columns.iter().collect::<Vec<_>>()));
    let product = desk.name("im2col * kernels", matrix.matmul(&kernels));
    let map = desk.name("image as a map", image.reshape([1, 3, 3, 1]));
    let weight = desk.name("kernels as a weight", kernels.reshape([2, 2, 1, 2]));
    let convolved = desk.name("conv2d", map.conv2d(&weight, None, Conv2d::default()));
    let squares = [("matrix", &product), ("conv2d", &convolved)];
    let [a, b] = squares.map(|(way, out)| {
        let squares = desk.name(&format!("{way} squared"), out.mul(out));
        desk.name(&format!("{way} sum"), squares.sum())
    });
    let loss = desk.name("loss", a.add(&b));

    desk.forward(
        "im2col",
        "One row for each place of the window, one column for each tap. The middle pixel, 3, stands in every row.",
    )
    .ask("How often does the middle pixel appear?", &["Once", "Twice", "Four times"], 2);
    desk.forward("im2col * kernels", "Each place against each kernel: four places, two output channels.");
    desk.forward("conv2d", "The same eight numbers without the copies: the window is read where it lies.");
    desk.backward(
        "conv2d",
        "The gradient of the image is a convolution too, with the kernels turned round; that of the kernels correlates the image with the incoming \
         gradient.",
    )
    .ask("What is the gradient of a convolution with respect to its image?", &["A convolution", "A matrix inverse", "The kernel itself"], 0);
    desk.backward(
        "im2col * kernels",
        "As matrices: `grad_A = G Bᵀ` for the im2col matrix, `grad_B = Aᵀ G` for the kernels. These now have two contributions, one of each way, \
         and the same numbers in both: im2col changes nothing but the layout.",
    );
    desk.backward("im2col", "Undoing the copies: each column goes back to the pixels it was taken from. Where columns overlap, gradients add.");
    loss
}
