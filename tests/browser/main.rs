//! The pages of `pleach step --html` in headless Chromium, driven by `suite.mjs`: those of synthetic traces that hold every oddity, and
//! those of every lesson and some networks as the program writes them. Where node, a Chromium or the packages of
//! `package.json` are missing, the test passes and says what was not tested and how to get it.
#![forbid(unsafe_code)]

#[path = "../../bin/step/page.rs"]
mod page;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const HOW: &str = "to run them: install node (20 or newer) and a Chromium (Debian: apt-get install nodejs npm chromium, or name \
                   one in PLEACH_CHROMIUM), then: npm ci --prefix tests/browser";

/// Past the capture of the test harness: a skipped test has to say so.
fn say(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The first of some programs that answers to `--version`.
fn program(names: &[String]) -> Option<String> {
    let answers = |name: &&String| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    names.iter().find(answers).cloned()
}

/// What the suite needs: node and a browser, or what is missing.
fn tools(folder: &Path) -> Result<(String, String), String> {
    let node = program(&["node".into()]).ok_or("node is missing")?;
    let named = std::env::var("PLEACH_CHROMIUM").ok();
    let usual = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].map(String::from);
    let chromium = match &named {
        Some(name) => program(std::slice::from_ref(name)).ok_or(format!("{name} (PLEACH_CHROMIUM) does not start"))?,
        None => program(&usual).ok_or("a Chromium is missing")?,
    };
    let absolute = which(&chromium).ok_or(format!("{chromium} is not on the path"))?;
    for package in ["playwright-core", "axe-core"] {
        if !folder.join("node_modules").join(package).is_dir() {
            return Err(format!("the package {package} is missing"));
        }
    }
    Ok((node, absolute.display().to_string()))
}

/// The browser is started by its whole path.
fn which(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    if path.is_absolute() {
        return Some(path);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Writes the page of every trace in a folder beside it.
fn render(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder of traces") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let trace = std::fs::read_to_string(&path).expect("a trace");
            std::fs::write(path.with_extension("html"), page::page("pleach step", &trace)).expect("room for a page");
        }
    }
}

/// Has the program write the pages that people will open: every lesson, and networks on real images.
fn generate(folder: &Path) {
    let pleach = || Command::new(env!("CARGO_BIN_EXE_pleach"));
    let listed = pleach().args(["step", "--list-lessons", "--json"]).output().expect("pleach starts");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let names = listed.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("an object a line");
        line["lesson"].as_str().expect("a name").to_string()
    });
    let mut pages: Vec<[String; 3]> = names.map(|name| [format!("lesson-{name}"), "--lesson".into(), name]).collect();
    pages.extend(
        ["resnet20", "sparsenet40-12", "preact-resnet110"].map(|name| [name.into(), "--model".into(), name.into()]),
    );
    for [file, flag, value] in pages {
        let mut command = pleach();
        command.args(["step", &flag, &value, "--html"]).arg(folder.join(format!("{file}.html")));
        if flag == "--model" {
            command.args(["--images", "7"]);
        }
        let output = command.output().expect("pleach starts");
        assert!(output.status.success(), "{value}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_page_in_a_browser() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let (node, chromium) = match tools(&here) {
        Ok(tools) => tools,
        Err(missing) => {
            say(&format!("browser tests SKIPPED (all of tests/browser/suite.mjs): {missing}; {HOW}"));
            return;
        }
    };
    let place = tempfile::tempdir().expect("a temporary folder");
    let made = Command::new(&node).arg(here.join("traces.mjs")).arg(place.path()).status().expect("node");
    assert!(made.success(), "traces.mjs failed");
    render(place.path());
    generate(place.path());
    let out = Command::new(&node)
        .arg(here.join("suite.mjs"))
        .arg(place.path())
        .env("PLEACH_CHROMIUM", chromium)
        .output()
        .expect("node");
    let text = String::from_utf8_lossy(&out.stdout);
    say(&format!("browser tests:\n{text}"));
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
}
