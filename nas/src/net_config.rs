//! Networks of the MBConv space in the JSON of mit-han-lab/proxylessnas, which its `ProxylessNASNets.build_from_config` reads.

use crate::{Arch, BlockKey, Op, Space};
use serde_json::{Value, json};

/// The net configuration of `arch`; `None` if its space is no MBConv space, for which alone the format is.
///
/// Layers that are not in the network are not in the list either, but a block whose choice is zero is: as a `ZeroLayer` with a
/// shortcut. Batch norm's constants are those of this library.
///
/// # Source
/// mit-han-lab/proxylessnas, `proxyless_nas/nas_modules.py` and `layers.py`.
pub fn net_config(arch: &Arch, classes: usize) -> Option<Value> {
    if !matches!(arch.space(), Space::Mbconv(_)) {
        return None;
    }
    let blocks = arch.space().blocks_of(arch, classes);
    let key = |place: &str| blocks.iter().find(|block| block.place == place).map(|block| &block.key);
    let (stem, mix, classifier) = (key("stem")?, key("mix")?, key("classifier")?);
    let inner = blocks.iter().filter(|block| !["stem", "mix", "classifier"].contains(&block.place.as_str()));
    let constants = nn::layers::BatchNorm2dConfig::default();
    Some(json!({
        "name": "ProxylessNASNets",
        "bn": { "momentum": decimal(constants.momentum), "eps": decimal(constants.eps) },
        "first_conv": conv(stem),
        "blocks": inner.map(|block| inverted_residual(&block.key)).collect::<Vec<Value>>(),
        "feature_mix_layer": conv(mix),
        "classifier": {
            "name": "LinearLayer",
            "in_features": classifier.input[2],
            "out_features": classifier.output[2],
            "bias": true,
            "use_bn": false,
            "act_func": null,
            "dropout_rate": 0,
            "ops_order": "weight_bn_act",
        },
    }))
}

fn conv(key: &BlockKey) -> Value {
    json!({
        "name": "ConvLayer",
        "in_channels": key.input[2],
        "out_channels": key.output[2],
        "kernel_size": key.kernel,
        "stride": key.stride,
        "dilation": 1,
        "groups": 1,
        "bias": false,
        "has_shuffle": false,
        "use_bn": true,
        "act_func": "relu6",
        "dropout_rate": 0,
        "ops_order": "weight_bn_act",
    })
}

fn inverted_residual(key: &BlockKey) -> Value {
    let identity = json!({
        "name": "IdentityLayer",
        "in_channels": key.input[2],
        "out_channels": key.output[2],
        "use_bn": false,
        "act_func": null,
        "dropout_rate": 0,
        "ops_order": "weight_bn_act",
    });
    let layer = match key.op.parse() {
        Ok(Op::Zero) => json!({ "name": "ZeroLayer", "stride": key.stride }),
        _ => json!({
            "name": "MBInvertedConvLayer",
            "in_channels": key.input[2],
            "out_channels": key.output[2],
            "kernel_size": key.kernel,
            "stride": key.stride,
            "expand_ratio": key.expansion,
            "mid_channels": null,
        }),
    };
    json!({
        "name": "MobileInvertedResidualBlock",
        "mobile_inverted_conv": layer,
        "shortcut": if key.skip { identity } else { Value::Null },
    })
}

/// The number as people write it: widened, an `f32` of 0.1 would read 0.10000000149.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_fields_that_proxylessnas_reads() {
        let space = Space::named("mbconv-small").expect("built in");
        let arch = space.random(0, 3);
        let config = net_config(&arch, 10).expect("of the MBConv space");
        assert_eq!(config["name"], "ProxylessNASNets");
        assert_eq!(config["bn"], json!({ "momentum": 0.1, "eps": 1e-5 }));
        assert_eq!(config["first_conv"]["in_channels"], 3);
        // The fixed block, then one for each choice.
        let blocks = config["blocks"].as_array().expect("a list");
        assert_eq!(blocks.len(), 1 + arch.choices().len());
        assert_eq!(blocks[0]["mobile_inverted_conv"]["expand_ratio"], 1);
        for (block, op) in blocks[1..].iter().zip(arch.choices()) {
            let layer = &block["mobile_inverted_conv"];
            match op {
                Op::MbConv { kernel, expansion } => {
                    assert_eq!((&layer["kernel_size"], &layer["expand_ratio"]), (&json!(kernel), &json!(expansion)));
                    assert_eq!(layer["name"], "MBInvertedConvLayer");
                }
                _ => {
                    assert_eq!(layer, &json!({ "name": "ZeroLayer", "stride": 1 }));
                    assert_eq!(block["shortcut"]["name"], "IdentityLayer");
                }
            }
        }
        assert_eq!(config["classifier"]["out_features"], 10);
    }
}
