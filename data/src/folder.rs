//! Folders of PNG and JPEG images: `DIR/train/CLASS/FILE` and `DIR/test/CLASS/FILE` (or `val` for `test`).

use crate::{Dataset, Error, Images, Normalisation};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};
use rayon::prelude::*;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The images under `dir/train` and `dir/test` (or `dir/val`), one folder a class. Classes are the folders of `train`, numbered in
/// order of their names; images come class by class, in order of file names (as bytes, so the order is the same everywhere). Grey
/// images become RGB, transparency is dropped. The normalisation is measured on the training images.
///
/// Hidden files are passed over, and so is `Thumbs.db`; anything else that is not an image is an error, since silence would lose data.
///
/// # Errors
/// If a folder is missing or empty, a test class is not among the training classes, a file cannot be decoded, or sizes differ.
pub fn image_folder(dir: &Path) -> Result<Dataset, Error> {
    let missing = |problem: String| {
        Error::Missing {
        path: dir.into(),
        problem,
        remedy: "an image folder has train/CLASS/*.png and test/CLASS/*.png (or val for test; JPEG will do): move the images there"
            .into(),
    }
    };
    let (train_dir, test_dir) = (dir.join("train"), ["test", "val"].map(|name| dir.join(name)));
    if !train_dir.is_dir() {
        return Err(missing("no folder train".into()));
    }
    let test_dir = match test_dir.map(|path| path.is_dir().then_some(path)) {
        [Some(_), Some(_)] => {
            return Err(Error::Missing {
                path: dir.into(),
                problem: "has both test and val".into(),
                remedy: "only one of them can be measured on: move the other away".into(),
            });
        }
        [Some(path), None] | [None, Some(path)] => path,
        [None, None] => return Err(missing("no folder test or val".into())),
    };

    let classes = class_folders(&train_dir)?;
    let train = list(&train_dir, &classes)?;
    if let Some(unknown) = class_folders(&test_dir)?.iter().find(|class| classes.binary_search(class).is_err()) {
        return Err(Error::Missing {
            path: test_dir.join(unknown),
            problem: "is a class that the training images do not have".into(),
            remedy: format!("add {} or remove it", train_dir.join(unknown).display()),
        });
    }
    let test = list(&test_dir, &classes)?;
    for (path, files) in [(&train_dir, &train), (&test_dir, &test)] {
        if files.is_empty() {
            return Err(missing(format!("no images in {}", path.display())));
        }
    }

    let size = Size { first: &train[0].0, expected: decoder(&train[0].0)?.dimensions() };
    let (train, test) = (size.read(&train)?, size.read(&test)?);
    Ok(Dataset {
        name: dir
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into()))
            .unwrap_or_default(),
        class_names: classes.iter().map(|class| class.to_string_lossy().into()).collect(),
        normalisation: Normalisation::measure(&train),
        train: Arc::new(train),
        test: Arc::new(test),
    })
}

/// Names in `dir` in order of their bytes, without hidden ones.
fn entries(dir: &Path) -> Result<Vec<OsString>, Error> {
    let unreadable = |source| Error::Read { path: dir.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && name != "Thumbs.db" {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The folders in `dir`, one a class, in order.
fn class_folders(dir: &Path) -> Result<Vec<OsString>, Error> {
    let names = entries(dir)?;
    match names.iter().map(|name| dir.join(name)).find(|path| !path.is_dir()) {
        Some(path) => {
            Err(Error::Image { path, problem: "is a file where only folders of classes are expected".into() })
        }
        None => Ok(names),
    }
}

/// Every file of every class with its label. A class without a folder has no images here.
fn list(dir: &Path, classes: &[OsString]) -> Result<Vec<(PathBuf, usize)>, Error> {
    let mut files = Vec::new();
    for (label, class_dir) in classes.iter().map(|class| dir.join(class)).enumerate() {
        if class_dir.is_dir() {
            files.extend(entries(&class_dir)?.into_iter().map(|name| (class_dir.join(name), label)));
        }
    }
    Ok(files)
}

/// A decoder that has read the header of the file.
fn decoder(path: &Path) -> Result<impl ImageDecoder, Error> {
    if path.is_dir() {
        return Err(Error::Image { path: path.into(), problem: "is a folder inside the folder of a class".into() });
    }
    // The format is read from the content: extensions are often wrong.
    ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|source| Error::Read { path: path.into(), source })?
        .into_decoder()
        .map_err(|error| undecodable(path, &error))
}

fn undecodable(path: &Path, error: &ImageError) -> Error {
    Error::Image { path: path.into(), problem: format!("is not a readable image ({error})") }
}

/// The size every image must have.
struct Size<'a> {
    first: &'a Path,
    expected: (u32, u32),
}

impl Size<'_> {
    fn read(&self, files: &[(PathBuf, usize)]) -> Result<Images, Error> {
        let (width, height) = (self.expected.0 as usize, self.expected.1 as usize);
        let mut pixels = vec![0; files.len() * height * width * 3];
        let results: Vec<Result<(), Error>> = pixels
            .par_chunks_mut(height * width * 3)
            .zip(files)
            .map(|(out, (path, _))| self.read_one(path, out))
            .collect();
        // Collected first, so that of several errors the first in order is told, whichever thread met one first.
        results.into_iter().collect::<Result<(), Error>>()?;
        let labels = files.iter().map(|&(_, label)| label).collect();
        Ok(Images { pixels, labels, height, width, channels: 3 })
    }

    fn read_one(&self, path: &Path, out: &mut [u8]) -> Result<(), Error> {
        let decoder = decoder(path)?;
        let found = decoder.dimensions();
        if found != self.expected {
            let (first, expected) = (self.first.into(), self.expected);
            return Err(Error::ImageSize { path: path.into(), found, first, expected });
        }
        let image = DynamicImage::from_decoder(decoder).map_err(|error| undecodable(path, &error))?;
        out.copy_from_slice(&image.into_rgb8());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};
    use tempfile::TempDir;

    /// Two classes, three training images and one test image, 5 wide and 4 high, each of one colour.
    fn folder() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in
            [("train/cat/b.png", 10), ("train/cat/a.png", 20), ("train/dog/10.PNG", 30), ("test/dog/x.png", 40)]
        {
            write(dir.path(), name, value, (5, 4));
        }
        dir
    }

    fn write(dir: &Path, name: &str, value: u8, (width, height): (u32, u32)) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, Rgb([value, value + 1, value + 2])).save(path).unwrap();
    }

    fn message(dir: &Path) -> String {
        image_folder(dir).unwrap_err().to_string().replace(&dir.display().to_string(), "DIR")
    }

    #[test]
    fn reads_in_order_of_names() {
        let dir = folder();
        fs::write(dir.path().join("train/.DS_Store"), "").unwrap();
        fs::write(dir.path().join("train/cat/.hidden"), "").unwrap();
        let set = image_folder(dir.path()).unwrap();
        assert_eq!(set.class_names, ["cat", "dog"]);
        assert_eq!((&set.train.labels[..], &set.test.labels[..]), (&[0, 0, 1][..], &[1][..]));
        assert_eq!((set.train.height, set.train.width, set.train.channels), (4, 5, 3));
        let values: Vec<u8> = (0..3).map(|i| set.train.image(i)[3]).collect();
        assert_eq!(values, [20, 10, 30]);
        assert_eq!(set.test.image(0)[57..], [40, 41, 42]);
        assert_eq!(set.normalisation, Normalisation::measure(&set.train));
    }

    #[test]
    fn val_jpeg_grey_and_wrong_extensions_are_read() {
        let dir = folder();
        fs::rename(dir.path().join("test"), dir.path().join("val")).unwrap();
        GrayImage::from_pixel(5, 4, Luma([77])).save(dir.path().join("val/dog/y.jpeg")).unwrap();
        fs::copy(dir.path().join("train/cat/b.png"), dir.path().join("val/dog/z.jpg")).unwrap();
        let set = image_folder(dir.path()).unwrap();
        assert_eq!(set.test.len(), 3);
        // A constant block survives JPEG within a level.
        assert!(set.test.image(1).iter().all(|&v| v.abs_diff(77) <= 1));
        assert_eq!(set.test.image(2), set.train.image(1));
    }

    #[test]
    fn sizes_must_agree() {
        let dir = folder();
        write(dir.path(), "train/dog/11.png", 0, (6, 4));
        assert_eq!(
            message(dir.path()),
            "DIR/train/dog/11.png: is 6x4 pixels (width x height), but DIR/train/cat/a.png is 5x4; resize the images to one size"
        );
    }

    #[test]
    fn damaged_and_foreign_files() {
        let dir = folder();
        let whole = fs::read(dir.path().join("train/cat/b.png")).unwrap();
        fs::write(dir.path().join("train/dog/9.png"), &whole[..whole.len() / 2]).unwrap();
        assert!(message(dir.path()).starts_with("DIR/train/dog/9.png: is not a readable image ("));
        fs::remove_file(dir.path().join("train/dog/9.png")).unwrap();
        fs::write(dir.path().join("test/dog/notes.txt"), "hello").unwrap();
        let message = message(dir.path());
        assert!(message.starts_with("DIR/test/dog/notes.txt: is not a readable image ("), "{message}");
        assert!(message.ends_with("; the folder may hold only whole PNG and JPEG files: replace or remove it"));
    }

    #[test]
    fn misplaced_files_and_folders() {
        let dir = folder();
        fs::create_dir(dir.path().join("train/cat/more")).unwrap();
        assert!(message(dir.path()).starts_with("DIR/train/cat/more: is a folder inside the folder of a class; "));
        fs::remove_dir(dir.path().join("train/cat/more")).unwrap();
        fs::write(dir.path().join("train/loose.png"), "").unwrap();
        assert!(message(dir.path()).starts_with("DIR/train/loose.png: is a file where only folders of classes are"));
        fs::remove_file(dir.path().join("train/loose.png")).unwrap();
        fs::write(dir.path().join("test/loose.png"), "").unwrap();
        assert!(message(dir.path()).starts_with("DIR/test/loose.png: is a file where"));
    }

    #[test]
    fn missing_and_empty_folders() {
        let dir = tempfile::tempdir().unwrap();
        assert!(message(dir.path()).starts_with("DIR: no folder train; an image folder has train/CLASS/*.png and"));
        fs::create_dir_all(dir.path().join("train/cat")).unwrap();
        assert!(message(dir.path()).starts_with("DIR: no folder test or val; "));
        fs::create_dir_all(dir.path().join("val/cat")).unwrap();
        assert!(message(dir.path()).starts_with("DIR: no images in DIR/train; "));
        write(dir.path(), "train/cat/1.png", 0, (2, 2));
        assert!(message(dir.path()).starts_with("DIR: no images in DIR/val; "));
        fs::create_dir(dir.path().join("test")).unwrap();
        assert!(message(dir.path()).starts_with("DIR: has both test and val; "));
    }

    #[test]
    fn a_test_class_must_be_trained() {
        let dir = folder();
        write(dir.path(), "test/fox/1.png", 0, (5, 4));
        assert_eq!(
            message(dir.path()),
            "DIR/test/fox: is a class that the training images do not have; add DIR/train/fox or remove it"
        );
    }
}
