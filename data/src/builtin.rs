//! The embedded set: real CIFAR-10 images as JPEG, decoded on request.
//!
//! The container is described, and was made, by `assets/make-builtin.py`: the images share one JPEG header, stored once.

use crate::cifar::CIFAR10_NAMES;
use crate::{Dataset, Images, Normalisation};
use image::ImageDecoder;
use image::codecs::jpeg::JpegDecoder;
use rayon::prelude::*;
use std::io::Cursor;
use std::sync::Arc;

static CONTAINER: &[u8] = include_bytes!("../assets/builtin.bin");
const MAGIC: &[u8] = b"PLEACH01";
const SIZE: usize = 32;
const IMAGE_LEN: usize = SIZE * SIZE * 3;
/// End of image, the marker that closes every JPEG file.
const EOI: [u8; 2] = [0xff, 0xd9];

/// 5,000 training and 1,000 test images of CIFAR-10, 32x32x3, balanced over the ten classes, from inside the binary.
///
/// Each call decodes them anew (about 0.1 s, 18 MB): keep what it returns; clones share the pixels.
///
/// # Source
/// A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. The images are a JPEG copy (4:2:0 chroma), which
/// costs a few points of accuracy against the lossless originals; `data/README.md` has their provenance.
pub fn builtin() -> Dataset {
    let (header, train, test) = records();
    Dataset {
        name: "builtin".into(),
        class_names: CIFAR10_NAMES.map(String::from).to_vec(),
        train: Arc::new(decode(header, &train)),
        test: Arc::new(decode(header, &test)),
        normalisation: Normalisation::CIFAR10,
    }
}

struct Record<'a> {
    label: usize,
    scan: &'a [u8],
}

/// The common JPEG header, and the records of train and of test. The container is part of the program, so a fault in it is a bug.
fn records() -> (&'static [u8], Vec<Record<'static>>, Vec<Record<'static>>) {
    let mut rest = CONTAINER;
    let mut take = |n: usize| {
        let (head, tail) = rest.split_at(n);
        rest = tail;
        head
    };
    assert_eq!(take(MAGIC.len()), MAGIC, "builtin: the container has another format");
    let [header_len, train, test] = [(); 3].map(|()| u32::from_le_bytes(take(4).try_into().expect("4 bytes")) as usize);
    let header = take(header_len);
    let mut split = |count: usize| -> Vec<Record<'static>> {
        (0..count)
            .map(|_| {
                let label = usize::from(take(1)[0]);
                let len = u16::from_le_bytes(take(2).try_into().expect("2 bytes"));
                Record { label, scan: take(usize::from(len)) }
            })
            .collect()
    };
    let (train, test) = (split(train), split(test));
    assert!(rest.is_empty(), "builtin: {} bytes after the last record", rest.len());
    (header, train, test)
}

fn decode(header: &[u8], records: &[Record]) -> Images {
    let mut pixels = vec![0; records.len() * IMAGE_LEN];
    pixels.par_chunks_mut(IMAGE_LEN).zip(records).for_each(|(out, record)| {
        let file = [header, record.scan, &EOI].concat();
        JpegDecoder::new(Cursor::new(file))
            .and_then(|decoder| {
                assert_eq!(decoder.total_bytes(), IMAGE_LEN as u64, "builtin: an image is not 32x32x3");
                decoder.read_image(out)
            })
            .expect("builtin: an embedded image does not decode");
    });
    let labels = records.iter().map(|record| record.label).collect();
    Images { pixels, labels, height: SIZE, width: SIZE, channels: 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_500_and_100_images_of_each_class() {
        let set = builtin();
        for (images, per_class) in [(&set.train, 500), (&set.test, 100)] {
            assert_eq!(images.len(), per_class * 10);
            assert_eq!(images.pixels.len(), images.len() * IMAGE_LEN);
            assert!((0..10).all(|class| images.labels.iter().filter(|&&l| l == class).count() == per_class));
        }
        // Classes come mixed, so that even an unshuffled batch sees most of them.
        let mut first: Vec<usize> = set.train.labels[..64].to_vec();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 10);
    }

    #[test]
    fn is_small_enough_for_a_repository() {
        assert!(CONTAINER.len() < 3_000_000, "{} bytes", CONTAINER.len());
    }

    #[test]
    fn no_image_is_both_train_and_test() {
        let set = builtin();
        let train: std::collections::HashSet<&[u8]> = (0..set.train.len()).map(|i| set.train.image(i)).collect();
        assert!((0..set.test.len()).all(|i| !train.contains(set.test.image(i))));
    }

    #[test]
    fn statistics_are_those_of_cifar10() {
        let measured = Normalisation::measure(&builtin().train);
        for c in 0..3 {
            // 5,000 images whose means scatter by about 0.13: four standard errors are 0.007.
            assert!((measured.mean[c] - Normalisation::CIFAR10.mean[c]).abs() < 0.007, "{measured:?}");
            assert!((measured.std[c] - Normalisation::CIFAR10.std[c]).abs() < 0.007, "{measured:?}");
        }
    }

    /// Decoded by Pillow 13 (libjpeg-turbo). Decoders differ in how they round and interpolate the halved chroma: over all images
    /// ours was at most 5 levels away, and 0.3 on average.
    #[test]
    fn pixels_are_those_of_libjpeg() {
        let set = builtin();
        let at = [(0, 0), (5, 9), (16, 16), (20, 7), (31, 31)];
        let truck = [[255, 251, 255], [244, 255, 254], [160, 157, 152], [77, 88, 82], [252, 252, 250]];
        let airplane = [[175, 189, 176], [164, 162, 114], [25, 24, 20], [77, 74, 41], [99, 98, 80]];
        for (images, i, class, golden, mean) in [
            (&set.train, 0, "truck", truck, [151.484, 156.080, 155.161]),
            (&set.test, 999, "airplane", airplane, [99.949, 110.554, 79.465]),
        ] {
            assert_eq!(set.class_names[images.labels[i]], class);
            let image = images.image(i);
            for ((y, x), golden) in at.into_iter().zip(golden) {
                let pixel = &image[(y * SIZE + x) * 3..][..3];
                assert!(pixel.iter().zip(golden).all(|(a, b)| a.abs_diff(b) <= 5), "({y}, {x}): {pixel:?}, {golden:?}");
            }
            for (c, mean) in mean.into_iter().enumerate() {
                let sum: f64 = image.iter().skip(c).step_by(3).map(|&v| f64::from(v)).sum();
                assert!((sum / 1024.0 - mean).abs() < 0.5, "channel {c}: {}", sum / 1024.0);
            }
        }
    }
}
