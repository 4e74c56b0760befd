//! The same bits on any number of threads: a small network of the plain ops, large enough for many chunks of work.

use engine::gradcheck::sample;
use engine::ops::{Pool2d, concat};
use engine::rng::purpose;
use engine::{Rng, Tensor};

/// Loss and gradients as bits.
fn run(threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        let leaves =
            [sample([4, 33, 31, 24]), sample([24]), sample([24]).scale(0.5)].map(|leaf: Tensor| leaf.requires_grad());
        let [x, gamma, beta] = &leaves;
        let mut rng = Rng::new(5, &[purpose::TEST]);
        let overlapping = Pool2d { kernel_size: 3, stride: 2, padding: 1 };
        let y = x.standardise(1e-5).affine(gamma, beta).relu().dropout(0.2, &mut rng);
        let y = y.pad(&[(0, 0), (1, 2), (2, 1), (0, 0)]).shuffle_channels(4);
        let y = concat(&[&y.max_pool2d(overlapping), &y.avg_pool2d(overlapping, false), &y.subsample2d(2)]);
        let logits = y.slice_channels(10..40).global_avg_pool().log_softmax();
        let loss = logits.cross_entropy(&[3, 29, 0, 17], 0.1);
        let gradients = loss.backward();
        let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect();
        let gradients = leaves.iter().map(|leaf| bits(gradients.get(leaf).expect("every leaf has a gradient")));
        std::iter::once(bits(&loss)).chain(gradients).collect()
    })
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let one = run(1);
    assert!([2, 5].into_iter().all(|threads| run(threads) == one));
}
