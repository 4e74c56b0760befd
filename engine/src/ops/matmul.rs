use crate::autograd::{Backward, Grads, OpDoc};
use crate::grad::GradOutput;
use crate::kernels::gemm::{Gemm, gemm};
use crate::reference::Array;
use crate::tensor::Tensor;

impl Tensor {
    /// Product of two matrices: `Y = A * B`.
    ///
    /// # Shapes
    /// - `self`: `(M, K)`
    /// - `other`: `(K, N)`
    /// - returns `(M, N)`
    ///
    /// # Gradient
    /// `grad_A = grad_output * Bᵀ`, `grad_B = Aᵀ * grad_output`; no transpose is written out. Saves, for each operand that is
    /// differentiable, the other one.
    ///
    /// # Panics
    /// If an operand is not a matrix or the inner extents differ.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let (&[m, k], &[k_other, n]) = (&self.shape()[..], &other.shape()[..]) else {
            panic!("matmul: expected matrices (M, K) and (K, N), got shapes {} and {}", self.shape(), other.shape());
        };
        assert!(
            k == k_other,
            "matmul: shapes {} and {} do not fit: the first has {k} columns, the second {k_other} rows",
            self.shape(),
            other.shape()
        );
        let size = Gemm { m, n, k, ..Gemm::default() };
        let y = Tensor::build([m, n], |y| gemm(size, self.data(), other.data(), y));
        let saved = Matmul {
            size,
            a: other.is_recorded().then(|| self.detach()),
            b: self.is_recorded().then(|| other.detach()),
        };
        y.record(&[self, other], saved)
    }
}

struct Matmul {
    size: Gemm,
    a: Option<Tensor>,
    b: Option<Tensor>,
}

impl Backward for Matmul {
    fn doc(&self) -> OpDoc {
        OpDoc {
            name: "matmul",
            formula: "y[m,n] = sum_{k} a[m,k] * b[k,n]",
            gradient: "grad_a[m,k] = sum_{n} grad_output[m,n] * b[k,n]; grad_b[k,n] = sum_{m} a[m,k] * grad_output[m,n]",
        }
    }

    fn inputs(&self) -> Vec<String> {
        ["a", "b"].map(String::from).to_vec()
    }

    fn again(&self, inputs: &[&Tensor]) -> Option<Tensor> {
        Some(inputs[0].matmul(inputs[1]))
    }

    fn backward(&self, grad_output: GradOutput, grads: &mut Grads) {
        let Gemm { m, n, k, .. } = self.size;
        let grad = grad_output.into_tensor();
        if let Some(b) = &self.b {
            grads.accumulate(0, |grad_a, fresh| {
                // (M, N) x (N, K)
                let size = Gemm { m, n: k, k: n, transpose_a: false, transpose_b: true, accumulate: !fresh };
                gemm(size, grad.data(), b.data(), grad_a);
            });
        }
        if let Some(a) = &self.a {
            grads.accumulate(1, |grad_b, fresh| {
                // (K, M) x (M, N)
                let size = Gemm { m: k, n, k: m, transpose_a: true, transpose_b: false, accumulate: !fresh };
                gemm(size, a.data(), grad.data(), grad_b);
            });
        }
    }

    fn reference(&self, inputs: &[&Array]) -> Array {
        let (a, b) = (inputs[0], inputs[1]);
        let ([m, k], [_, n]) = (a.dims(), b.dims());
        Array::from_fn([m, n], |at| {
            let (i, j) = (at / n, at % n);
            (0..k).map(|l| a.data[i * k + l] * b.data[l * n + j]).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::gradcheck::{gradcheck, sample};
    use crate::tensor::Tensor;

    #[test]
    fn agrees_with_f64_reference() {
        for (m, k, n) in [(3, 5, 7), (1, 4, 1), (7, 1, 17), (0, 3, 2), (2, 0, 3), (2, 3, 0), (13, 19, 33)] {
            gradcheck(&[sample([m, k]), sample([k, n]).scale(0.5)], |t| t[0].matmul(&t[1]));
        }
    }

    #[test]
    fn gradients_of_several_uses_add_up() {
        let constant = sample([4, 4]);
        gradcheck(&[sample([3, 4]), sample([4, 4]).scale(0.5)], |t| t[0].matmul(&t[1]).matmul(&t[1]));
        gradcheck(&[sample([3, 4])], |t| t[0].matmul(&constant).add(&t[0].matmul(&constant)));
    }

    #[test]
    #[should_panic(
        expected = "matmul: shapes (2, 3) and (4, 5) do not fit: the first has 3 columns, the second 4 rows"
    )]
    fn inner_extents_that_differ_panic() {
        Tensor::zeros([2, 3]).matmul(&Tensor::zeros([4, 5]));
    }

    #[test]
    #[should_panic(expected = "matmul: expected matrices (M, K) and (K, N), got shapes (3) and (3, 5)")]
    fn a_vector_panics() {
        Tensor::zeros([3]).matmul(&Tensor::zeros([3, 5]));
    }
}
