//! Clipping gradients by their common norm.

use crate::param::Param;
use engine::Gradients;
use engine::parallel::{self, CHUNK, chunks_mut};

/// Scales all gradients of `params` by `max_norm / (norm + 1e-6)` if their common Euclidean norm exceeds `max_norm`. Returns the
/// norm before; a parameter without a gradient counts as 0.
///
/// # Source
/// `torch.nn.utils.clip_grad_norm_`; the norm is summed in `f64`.
pub fn clip_grad_norm(gradients: &mut Gradients, params: &[(String, Param)], max_norm: f32) -> f32 {
    let squares = params.iter().filter_map(|(_, param)| {
        let grad = gradients.get(&param.value())?.data();
        Some(parallel::sum(grad.len(), |range| grad[range].iter().map(|&g| f64::from(g) * f64::from(g)).sum()))
    });
    let norm = squares.sum::<f64>().sqrt();
    let factor = (f64::from(max_norm) / (norm + 1e-6)) as f32;
    if factor < 1.0 {
        for (_, param) in params {
            if let Some(grad) = gradients.get_mut(&param.value()) {
                chunks_mut(grad.data_mut(), CHUNK, |_, out| out.iter_mut().for_each(|g| *g *= factor));
            }
        }
    }
    norm as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::ParamKind;
    use engine::Tensor;

    #[test]
    fn the_common_norm_is_cut_to_the_maximum() {
        let param = |v: f32| Param::new(Tensor::from_slice([1], &[v]), ParamKind::Bias);
        let params = vec![("a".to_owned(), param(1.0)), ("b".to_owned(), param(1.0)), ("idle".to_owned(), param(1.0))];
        // The gradients are 3 and 4: norm 5.
        let make = || {
            let a = params[0].1.value().scale(3.0).sum();
            let mut grads = a.backward();
            let b = params[1].1.value().scale(4.0).sum().backward();
            let grad_b = b.get(&params[1].1.value()).expect("b has a gradient").data()[0];
            assert!(grads.get_mut(&params[1].1.value()).is_none(), "the first loss does not depend on b");
            (grads.get(&params[0].1.value()).expect("a has a gradient").data()[0], grad_b, grads)
        };
        let (a, b, mut grads) = make();
        assert_eq!((a, b), (3.0, 4.0));
        assert_eq!(clip_grad_norm(&mut grads, &params, 10.0), 3.0);
        assert_eq!(grads.get(&params[0].1.value()).expect("still there").data(), [3.0]);
        assert_eq!(clip_grad_norm(&mut grads, &params, 1.5), 3.0);
        let clipped = grads.get(&params[0].1.value()).expect("still there").data()[0];
        assert!((clipped - 1.5).abs() < 1e-5, "{clipped}");
    }
}
