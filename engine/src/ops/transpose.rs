use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::parallel::{CHUNK, chunks_mut};
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Transpose of a matrix: `y[j][i] = x[i][j]`. A copy; [`matmul`](Tensor::matmul)'s own gradients need none.
    ///
    /// # Shapes
    /// - `self`: `(M, N)`; returns `(N, M)`
    ///
    /// # Gradient
    /// `grad_input = transpose(grad_output)`. Saves nothing.
    ///
    /// # Panics
    /// If this is not a matrix.
    #[track_caller]
    pub fn transpose(&self) -> Tensor {
        assert!(self.shape().len() == 2, "transpose: expected a matrix (M, N), got shape {}", self.shape());
        transposed(self).record(&[self], Transpose)
    }
}

fn transposed(x: &Tensor) -> Tensor {
    /// Square tiles of 16 by 16 floats: 16 cache lines on either side.
    const TILE: usize = 16;
    let [m, n] = x.dims();
    let x = x.data();
    Tensor::build([n, m], |y| {
        let rows = (CHUNK / m.max(1)).max(1).next_multiple_of(TILE);
        chunks_mut(y, rows * m, |task, y| {
            for (band, y) in y.chunks_mut(TILE * m).enumerate() {
                let first = task * rows + band * TILE;
                for i in (0..m).step_by(TILE) {
                    let end = (i + TILE).min(m);
                    for (j, y) in y.chunks_exact_mut(m).enumerate() {
                        let column = x[first + j..].iter().step_by(n).skip(i);
                        y[i..end].iter_mut().zip(column).for_each(|(y, x)| *y = *x);
                    }
                }
            }
        });
    })
}

struct Transpose;

impl Backward for Transpose {
    fn doc(&self) -> OpDoc {
        OpDoc { name: "transpose", formula: "y[j,i] = x[i,j]", gradient: "grad_x[i,j] = grad_output[j,i]" }
    }

    fn inputs(&self) -> Vec<String> {
        ["x"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].transpose())
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        grads.add(0, transposed(&grad_output.into_tensor()));
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let [m, n] = inputs[0].dims();
        Array::from_fn([n, m], |at| inputs[0].data[at % m * n + at / m])
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for (m, n) in [(3, 5), (1, 7), (7, 1), (0, 3), (3, 0), (16, 17), (33, 15)] {
            gradcheck(&[sample([m, n])], |t| t[0].transpose());
        }
    }

    #[test]
    fn every_element_of_a_large_matrix_moves() {
        let (m, n) = (131, 517); // several tasks, and a ragged tile in both directions
        let x = Tensor::from_fn([m, n], |i| i as f32);
        let y = x.transpose();
        assert!((0..m * n).all(|at| y.data()[at] == (at % m * n + at / m) as f32));
    }

    #[test]
    #[should_panic(expected = "transpose: expected a matrix (M, N), got shape (2, 3, 4)")]
    fn another_rank_panics() {
        Tensor::zeros([2, 3, 4]).transpose();
    }
}
