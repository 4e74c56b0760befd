//! Everything a person can get wrong: one sentence that says what, where and what to do, exit code 2, and no run.

use super::{Place, same_bits};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Refused with code 2, with every part in the message, before anything is made.
#[track_caller]
fn says(place: &Place, args: &[&str], parts: &[&str]) {
    let before = place.names("");
    let message = place.refused(2, args);
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert_eq!(place.names(""), before, "nothing is made");
}

/// Size of a batch file of CIFAR-10.
const BATCH_FILE: u64 = 30_730_000;

/// The files of CIFAR-10, all black aeroplanes, as holes that take no space.
fn cifar10(place: &Place) {
    let names = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_string()]);
    for name in names {
        let file = fs::File::create(place.path("cifar").join(name)).expect("created");
        file.set_len(BATCH_FILE).expect("sized");
    }
}

#[test]
fn unknown_names_suggest_the_nearest() {
    let place = Place::new();
    says(&place, &["train", "--model", "resnet2o"], &["resnet2o", "did you mean", "resnet20"]);
    says(&place, &["train", "--preset", "resnet20-cifar"], &["did you mean 'resnet20-cifar10'?", "pleach presets"]);
    says(&place, &["train", "--set", "training.epoch=3"], &["unknown key 'training.epoch'", "'training.epochs'"]);
    says(&place, &["train", "--set", "lr=3"], &["did you mean 'optimizer.lr'?"]);
    says(&place, &["train", "--schedule", "cosin"], &["--schedule", "schedule.kind", "cosine"]);
    says(&place, &["train", "--optimizer", "sdg"], &["--optimizer", "sgd"]);
    says(&place, &["bench", "step", "--model", "resnet21"], &["resnet21", "6n + 2"]);
    says(&place, &["presets", "builtn"], &["did you mean 'builtin'?"]);
}

#[test]
fn values_out_of_range_are_named_with_their_rule() {
    let place = Place::new();
    let data = ["train", "--data", "synthetic:96,32", "--model", "resnet8"];
    let with = |more: &[&'static str]| [&data[..], more].concat();
    says(&place, &with(&["--lr", "NaN"]), &["optimizer.lr is NaN", "finite number above 0"]);
    says(&place, &with(&["--lr", "inf"]), &["optimizer.lr is inf"]);
    says(&place, &with(&["--lr", "-0.1"]), &["optimizer.lr is -0.1"]);
    says(&place, &with(&["--epochs", "0"]), &["training.epochs is 0", "1 or more"]);
    says(&place, &with(&["--batch", "0"]), &["training.batch is 0"]);
    says(&place, &with(&["--batch", "97"]), &["a batch of 97", "between 1 and 96"]);
    says(&place, &with(&["--hold-out", "96"]), &["cannot hold out 96", "between 1 and 95"]);
    says(&place, &with(&["--label-smoothing", "1"]), &["label_smoothing is 1"]);
    says(&place, &with(&["--mixup", "-1"]), &["mixup is -1"]);
    says(&place, &with(&["--threads", "5000"]), &["threads is 5000"]);
    says(&place, &with(&["--conv-algorithm", "fft"]), &["conv_algorithm", "fft", "direct"]);
    says(&place, &with(&["--seed", "18446744073709551615"]), &["--seed 18446744073709551615 is too large"]);
    says(&place, &with(&["--set", "training.epochs=two"]), &["training.epochs is a text", "whole number"]);
    says(&place, &with(&["--set", "schedule.milestones=[0.9, 0.1]"]), &["rising order"]);
    says(&place, &with(&["--name", "../x"]), &["run name", "letters, digits"]);
    says(&place, &["train", "--data", "synthetic:9"], &["synthetic:TRAIN,TEST"]);
    says(&place, &["train", "--preset", "resnet20-cifar10"], &["--data DIR"]);
    says(&place, &["bench", "conv", "--shape", "1,2,3"], &["--shape 1,2,3", "seven numbers"]);
    let winograd = ["bench", "conv", "--shape", "1,8,8,8,8,3,2", "--algorithm", "winograd"];
    says(&place, &winograd, &["--algorithm winograd", "stride 1", "take direct"]);
    says(&place, &["bench", "step", "--batch", "0"], &["--batch is 0"]);
}

#[test]
fn data_that_is_missing_or_damaged_is_named_with_its_place() {
    let place = Place::new();
    let train = ["train", "--model", "resnet8", "--batch", "2", "--data", "cifar"];
    says(&place, &train, &["cifar"]);
    fs::create_dir(place.path("cifar")).expect("created");
    says(&place, &train, &["cifar"]);
    cifar10(&place);
    let path = place.path("cifar/data_batch_2.bin");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
    for size in [0, 3073 * 2, BATCH_FILE - 1, BATCH_FILE + 1] {
        file.set_len(size).expect("sized");
        says(&place, &train, &["data_batch_2.bin", "30730000"]);
    }
    file.set_len(BATCH_FILE).expect("sized");
    let mut file = file;
    file.seek(SeekFrom::Start(3073 * 7)).expect("in the file");
    file.write_all(&[10]).expect("written");
    says(&place, &train, &["data_batch_2.bin", "21511", "label 10"]);
}

#[test]
fn configuration_files_are_checked() {
    let place = Place::new();
    let train = ["train", "--config", "c.toml"];
    says(&place, &train, &["cannot read c.toml", "check the path"]);
    let check = |text: &str, parts: &[&str]| {
        fs::write(place.path("c.toml"), text).expect("written");
        says(&place, &train, parts);
    };
    check("model = ", &["c.toml: not valid TOML"]);
    check("[training]\nepoch = 3", &["c.toml: unknown key 'training.epoch'; did you mean 'training.epochs'?"]);
    check("[training]\nbatch = -5", &["training"]);
    check("[optimizer]\nlr = nan", &["optimizer.lr is NaN"]);
    check("training = 3", &["c.toml: 'training' is a section"]);
    check("model = 'resnet21'", &["resnet21", "6n + 2"]);
    check("model = 'resnet8'\ndata.source = 'nowhere'", &["nowhere"]);
}

/// Rewrites a checkpoint's tensors under no metadata.
fn plain(from: &Path, to: &Path, change: impl Fn(&str) -> Option<String>) {
    let bytes = fs::read(from).expect("a checkpoint");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let weights = file.tensors().into_iter().filter(|(name, _)| !name.starts_with("optimizer."));
    let changed: Vec<_> = weights.filter_map(|(name, view)| Some((change(&name)?, view))).collect();
    fs::write(to, safetensors::serialize(changed, None).expect("serialises")).expect("written");
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let place = Place::new();
    place.small("run", &["--max-steps", "1"]);
    let last = place.path("run/ckpt/last.safetensors");
    let data = ["--data", "synthetic:96,32"];
    let eval = |more: &[&'static str]| [&["eval"], &data[..], more].concat();

    says(&place, &eval(&["--weights", "nowhere"]), &["cannot read nowhere", "check the path"]);
    let other = eval(&["--weights", "run", "--model", "resnet14"]);
    says(&place, &other, &["holds the weights of resnet8 with 10 classes, not of resnet14"]);
    let init = ["train", "--model", "resnet14", "--data", "synthetic:96,32", "--batch", "16", "--init", "run"];
    says(&place, &init, &["holds the weights of resnet8"]);

    let check = |change: fn(&str) -> Option<String>, parts: &[&str]| {
        plain(&last, &place.path("w.safetensors"), change);
        says(
            &place,
            &eval(&["--model", "resnet8", "--weights", "w.safetensors"]),
            &[&["w.safetensors"], parts].concat(),
        );
    };
    check(|name| (name != "linear.bias").then(|| name.into()), &["missing", "linear.bias"]);
    check(|name| Some(name.replace("linear", "fc")), &["fc.weight"]);
    let swap = |name: &str| {
        Some(match name {
            "layer1.0.conv1.weight" => "layer2.0.conv2.weight".to_string(),
            "layer2.0.conv2.weight" => "layer1.0.conv1.weight".to_string(),
            _ => name.to_string(),
        })
    };
    check(swap, &["shape", "layer1.0.conv1.weight"]);
}

#[test]
fn a_damaged_checkpoint_is_found() {
    let place = Place::new();
    place.small("run", &["--epochs", "4", "--max-steps", "8"]);
    let last = place.path("run/ckpt/last.safetensors");
    let whole = fs::read(&last).expect("a checkpoint");
    let resume = ["train", "--resume", "run", "--max-steps", "0"];
    let check = |bytes: Vec<u8>| {
        fs::write(&last, bytes).expect("written");
        says(&place, &resume, &["run/ckpt/last.safetensors", "damaged", "copy run/ckpt/best.safetensors over it"]);
    };
    check(whole[..whole.len() - 1].to_vec());
    check(whole[..20].to_vec());
    check(vec![]);
    check([&whole[..], b"x"].concat());
    for at in [whole.len() - 5, whole.len() / 2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        check(bytes);
    }
    // A header that asks for more memory than there is.
    check([&u64::MAX.to_le_bytes()[..], &whole[8..]].concat());
    // The way out that the message names leads to the same end.
    fs::copy(place.path("run/ckpt/best.safetensors"), &last).expect("copied");
    place.done(&resume);
    place.small("whole", &["--epochs", "4"]);
    same_bits(&place, "whole", "run");
}

#[test]
fn folders_that_are_taken_stay_as_they_are() {
    let place = Place::new();
    place.small("run", &["--max-steps", "1"]);
    let again = ["train", "--model", "resnet8", "--data", "synthetic:96,32", "--batch", "16", "--out", "run"];
    says(&place, &again, &["run already holds a run", "--resume run"]);
    fs::create_dir(place.path("full")).expect("created");
    fs::write(place.path("full/a"), "mine").expect("written");
    says(&place, &[&again[..8], &["full"]].concat(), &["full is not empty", "another --out"]);
    says(&place, &["train", "--resume", "full"], &["full is not a run", "no config.toml"]);
    fs::write(place.path("file"), "mine").expect("written");
    says(&place, &[&again[..8], &["file"]].concat(), &["file", "another --out"]);
}

#[test]
fn other_images_than_the_run_began_with_are_refused() {
    let place = Place::new();
    let classes = |value: u8| {
        for part in ["train", "test"] {
            for class in ["a", "b"] {
                let folder = place.path("images").join(part).join(class);
                fs::create_dir_all(&folder).expect("created");
                let pixels = vec![value + u8::from(class == "a"); 8 * 8 * 3];
                let png = image::RgbImage::from_raw(8, 8, pixels).expect("an image");
                (0..4).for_each(|i| png.save(folder.join(format!("{i}.png"))).expect("written"));
            }
        }
    };
    classes(10);
    let args = ["train", "--model", "resnet8", "--data", "images", "--batch", "4", "--out", "run", "--max-steps", "1"];
    place.done(&args);
    classes(20);
    says(&place, &["train", "--resume", "run", "--max-steps", "0"], &["other images than the run began with"]);
    // Five halvings leave nothing of eight pixels.
    let vgg = ["train", "--model", "vgg11-bn", "--data", "images", "--batch", "4"];
    says(&place, &vgg, &["vgg11-bn cannot read images of 8x8 pixels, 2 at a time", "use 32x32 images"]);
}
