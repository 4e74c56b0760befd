//! Values and gradients of the plain ops and of conv2d against PyTorch's, from `tests/golden/make_ops.py`.

use engine::ops::{Pool2d, concat};
use engine::{Conv2d, Tensor};
use safetensors::SafeTensors;
use std::collections::HashMap;
use std::fmt::Debug;
use std::str::FromStr;

/// The fixture file, read once per test.
struct Golden {
    bytes: Vec<u8>,
    /// `name op key=value ...`, one a line.
    cases: String,
}

impl Golden {
    fn read() -> Golden {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/ops.safetensors");
        let bytes = std::fs::read(path).expect("the fixture is in the repository");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let cases = metadata.metadata().as_ref().expect("metadata")["cases"].clone();
        Golden { bytes, cases }
    }

    /// Runs the cases whose op is accepted by `wanted`, and returns how many there were.
    fn check(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let cases: Vec<Case> = self.cases.lines().map(|line| Case::new(line, &file)).collect();
        let cases: Vec<&Case> = cases.iter().filter(|case| wanted(case.op)).collect();
        let failures: Vec<String> = cases.iter().flat_map(|case| case.failures()).collect();
        assert!(failures.is_empty(), "differs from PyTorch:\n{}", failures.join("\n"));
        cases.len()
    }
}

struct Case<'a> {
    name: &'a str,
    op: &'a str,
    params: HashMap<&'a str, &'a str>,
    file: &'a SafeTensors<'a>,
}

impl<'a> Case<'a> {
    fn new(line: &'a str, file: &'a SafeTensors<'a>) -> Case<'a> {
        let mut words = line.split(' ');
        let (name, op) = (words.next().expect("a name"), words.next().expect("an op"));
        Case { name, op, params: words.map(|word| word.split_once('=').expect("key=value")).collect(), file }
    }

    /// The tensor `key` of this case, if the file has it.
    fn tensor(&self, key: &str) -> Option<Tensor> {
        let view = self.file.tensor(&format!("{}/{key}", self.name)).ok()?;
        let values: Vec<f32> = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Some(Tensor::from_slice(view.shape(), &values))
    }

    fn param<T: FromStr<Err: Debug>>(&self, key: &str) -> T {
        self.params[key].parse().expect("a parameter of this type")
    }

    fn list(&self, key: &str) -> Vec<usize> {
        self.params[key].split(',').map(|n| n.parse().expect("a number")).collect()
    }

    fn pool2d(&self) -> Pool2d {
        Pool2d { kernel_size: self.param("kernel_size"), stride: self.param("stride"), padding: self.param("padding") }
    }

    fn run(&self, inputs: &[Tensor]) -> Tensor {
        let x = &inputs[0];
        match self.op {
            "conv2d" => x.conv2d(
                &inputs[1],
                inputs.get(2),
                Conv2d {
                    stride: self.param("stride"),
                    padding: self.param("padding"),
                    dilation: self.param("dilation"),
                    groups: self.param("groups"),
                },
            ),
            "batch_norm" => x.standardise(self.param("eps")).affine(&inputs[1], &inputs[2]),
            "max_pool2d" => x.max_pool2d(self.pool2d()),
            "avg_pool2d" => x.avg_pool2d(self.pool2d(), self.param("count_include_pad")),
            "global_avg_pool" => x.global_avg_pool(),
            "concat" => concat(&inputs.iter().collect::<Vec<_>>()),
            "slice_channels" => x.slice_channels(self.param("start")..self.param("end")),
            "shuffle_channels" => x.shuffle_channels(self.param("groups")),
            "pad" => {
                let number = |n: &str| n.parse().expect("a number");
                let pair = |pair: &str| pair.split_once(':').map(|(before, after)| (number(before), number(after)));
                x.pad(&self.params["padding"].split(',').map(|p| pair(p).expect("before:after")).collect::<Vec<_>>())
            }
            "subsample2d" => x.subsample2d(self.param("stride")),
            "log_softmax" => x.log_softmax(),
            "cross_entropy" => x.cross_entropy(&self.list("labels"), self.param("label_smoothing")),
            "cross_entropy_mixed" => {
                let (a, b) = (self.list("labels"), self.list("labels_b"));
                x.cross_entropy_mixed(&a, &b, self.param("lambda"), self.param("label_smoothing"))
            }
            "add" => x.add(&inputs[1]),
            "sub" => x.sub(&inputs[1]),
            "mul" => x.mul(&inputs[1]),
            "div" => x.div(&inputs[1]),
            "neg" => x.neg(),
            "exp" => x.exp(),
            "log" => x.log(),
            "sqrt" => x.sqrt(),
            "tanh" => x.tanh(),
            "sigmoid" => x.sigmoid(),
            "relu" => x.relu(),
            "relu6" => x.relu6(),
            "scale" => x.scale(self.param("factor")),
            "add_scalar" => x.add_scalar(self.param("value")),
            "matmul" => x.matmul(&inputs[1]),
            "reshape" => x.reshape(self.list("shape").as_slice()),
            "transpose" => x.transpose(),
            "sum" => x.sum(),
            "mean" => x.mean(),
            "sum_axis" => x.sum_axis(self.param("axis"), self.param("keep_dim")),
            "mean_axis" => x.mean_axis(self.param("axis"), self.param("keep_dim")),
            op => panic!("{}: no op is called {op}", self.name),
        }
    }

    /// One sentence for each tensor that differs.
    fn failures(&self) -> Vec<String> {
        let inputs: Vec<Tensor> = (0..).map_while(|i| self.tensor(&format!("input{i}"))).collect();
        let leaves: Vec<Tensor> = inputs.iter().map(Tensor::requires_grad).collect();
        let output = self.run(&leaves);
        let mut failures = vec![];
        failures.extend(self.difference("output", &output));
        if let Some(grad_output) = self.tensor("grad_output") {
            let mut steps = output.backward_steps(grad_output);
            steps.by_ref().for_each(drop);
            let gradients = steps.into_gradients();
            for (i, leaf) in leaves.iter().enumerate() {
                let grad = gradients.get(leaf).expect("every input has a gradient");
                failures.extend(self.difference(&format!("grad{i}"), grad));
            }
        }
        failures
    }

    fn difference(&self, key: &str, ours: &Tensor) -> Option<String> {
        let golden = self.tensor(key).expect("a tensor of every case");
        if golden.shape() != ours.shape() {
            return Some(format!("{}/{key}: shape {} instead of {}", self.name, ours.shape(), golden.shape()));
        }
        // Entries cancel, so errors are in proportion to the largest entry; special values stand each alone.
        let largest = golden.data().iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = |golden: f32| if self.name.starts_with("special/") { golden.abs() } else { largest };
        let tolerance = self.tolerance();
        let differs = |&(_, (&ours, &golden)): &(usize, (&f32, &f32))| {
            let same = ours == golden || (ours.is_nan() && golden.is_nan());
            // Written so that a NaN on either side differs.
            !(same || (ours - golden).abs() <= tolerance * scale(golden) && golden.is_finite())
        };
        let (i, (ours, golden)) = ours.data().iter().zip(golden.data()).enumerate().find(differs)?;
        Some(format!("{}/{key}: {ours} instead of {golden} at {i} (largest {largest})", self.name))
    }

    /// Allowed error, as a share of the largest entry.
    fn tolerance(&self) -> f32 {
        match self.op {
            // Winograd's transforms lose up to 1.2e-5 where the direct algorithm loses 1e-6.
            "conv2d" => 3e-5,
            // Sums of up to 64 products, each rounded by 6e-8: a random walk stays below ten roundings.
            "matmul" => 1e-6,
            // y carries three roundings, and its gradient a difference of three terms of y's size.
            "batch_norm" => 1e-6,
            // A few roundings of 6e-8 each, or sums in f64.
            _ => 5e-7,
        }
    }
}

#[test]
fn plain_ops_agree_with_pytorch() {
    assert_eq!(Golden::read().check(|op| op != "conv2d"), 86);
}

#[test]
fn conv2d_agrees_with_pytorch() {
    assert_eq!(Golden::read().check(|op| op == "conv2d"), 29);
}
