//! `pleach topology` and networks from wiring files.

use super::{Place, keys, objects};

#[test]
fn links_paths_and_sizes_are_those_of_the_papers() {
    let place = Place::new();
    let report = |gather: &str, more: &[&str]| {
        let args = ["topology", "--layers", "32", "--gather", gather, "--json"];
        objects(&place.done(&[&args[..], more].concat())).remove(0)
    };
    let sparse = report("base:2", &["--how", "concat"]);
    assert_eq!(
        keys(&sparse),
        ["gather", "how", "layers", "links", "log_factorial", "longest_shortest_path", "macs", "params"]
    );
    assert!(sparse["log_factorial"].as_f64().is_some_and(|log| (log - 122.71).abs() < 0.01), "{sparse}");
    assert_eq!(
        (&sparse["links"], &sparse["longest_shortest_path"], &sparse["params"]),
        (&141.into(), &5.into(), &633_898.into())
    );
    assert_eq!(report("base:3", &[])["links"], 96);
    let dense = report("all", &["--stem", "16"]);
    assert_eq!(
        (&dense["links"], &dense["longest_shortest_path"], &dense["params"]),
        (&561.into(), &1.into(), &6_979_642.into())
    );
    assert!(dense["log_factorial"].is_null(), "of powers of a base alone");
    assert_eq!(dense["macs"], 1_769_516_448u64);
    let sum = objects(&place.done(&["topology", "--layers", "3", "--gather", "base:2", "--how", "sum", "--json"]));
    assert_eq!(sum[0]["params"], 269_722);

    let path = report("base:2", &["--path", "23,0"]);
    assert_eq!((&path["steps"], path["path"].as_array().map(Vec::len)), (&4.into(), Some(5)));
    assert_eq!(report("base:2", &["--path", "3,17"])["steps"], 3, "14 apart, in either order");

    let grown = objects(&place.done(&["topology", "--layers", "12,64,330", "--gather", "all", "--json"]));
    let links: Vec<u64> = grown.iter().filter_map(|line| line["links"].as_u64()).collect();
    assert_eq!(links, [91, 2145, 54_946]);
    assert!(grown[2]["params"].is_null(), "too large to build, but its links are counted");
}

#[test]
fn it_is_drawn() {
    let place = Place::new();
    let text = place.done(&["topology", "--layers", "12", "--path", "12,0", "--svg", "wiring.svg"]);
    assert!(
        text.contains("41 links (log_2 13! = 32.5)")
            && text.contains("the gradient takes 2 steps: 12 -> ")
            && text.contains('◆'),
        "{text}"
    );
    let svg = std::fs::read_to_string(place.path("wiring.svg")).expect("written");
    assert!(svg.starts_with("<svg") && svg.contains("(b) exploded"));
}

/// The rule of one file that the documentation shows is trained like any other.
#[test]
fn a_rule_in_rust_trains() {
    let place = Place::new();
    for model in ["wired-fibonacci-concat13-4", "wired-fibonacci-sum20"] {
        let args = ["train", "--model", model, "--data", "synthetic:32,16", "--batch", "16", "--max-steps", "1"];
        place.done(&[&args[..], &["--out", model]].concat());
    }
    let links = objects(&place.done(&["topology", "--layers", "12", "--gather", "fibonacci", "--json"]));
    assert_eq!(links[0]["links"], 52);
}

/// The file that docs/models/wired.md shows.
#[test]
fn the_wiring_file_of_the_documentation_trains() {
    let place = Place::new();
    let page = include_str!("../../docs/models/wired.md");
    let file = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("shown");
    std::fs::write(place.path("mine.toml"), file).expect("writable");
    let args = ["train", "--model", "mine.toml", "--data", "synthetic:32,16", "--batch", "16", "--max-steps", "1"];
    place.done(&[&args[..], &["--out", "run"]].concat());
    assert_eq!(objects(&place.done(&["topology", "--gather", "edges:mine.toml", "--json"]))[0]["links"], 7);
}

const WIRING: &str = "layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 2], [0, 2], [2, 3], [0, 3]]\n";

#[test]
fn a_wiring_file_trains_resumes_and_is_tested() {
    let place = Place::new();
    std::fs::write(place.path("mine.toml"), WIRING).expect("writable");
    let args = [
        "train",
        "--model",
        "mine.toml",
        "--data",
        "synthetic:32,16",
        "--batch",
        "16",
        "--epochs",
        "2",
        "--out",
        "run",
    ];
    place.done(&[&args[..], &["--max-steps", "2"]].concat());
    place.done(&["train", "--out", "run", "--resume", "--max-steps", "4"]);
    let eval = ["eval", "--weights", "run", "--data", "synthetic:32,16", "--json"];
    let tested = objects(&place.done(&eval));
    assert!(tested[0]["model"].as_str().is_some_and(|model| model.contains("mine.toml#")), "{tested:?}");
    assert_eq!(objects(&place.done(&[&eval[..], &["--model", "mine.toml"]].concat())), tested);

    let counted = objects(&place.done(&["topology", "--gather", "edges:mine.toml", "--json"]));
    assert_eq!((&counted[0]["links"], &counted[0]["gather"]), (&5.into(), &"edges".into()));

    std::fs::write(place.path("mine.toml"), WIRING.replace("[0, 3]", "[1, 3]")).expect("writable");
    assert!(place.refused(2, &eval).contains("has changed since"));
}

#[test]
fn what_cannot_be_wired_is_refused_before_anything_runs() {
    let place = Place::new();
    for (file, message) in [
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 2], [2, 1], [2, 3]]", "does not go forward"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 1], [1, 2], [2, 3]]", "cycle"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 2], [1, 2], [2, 3]]", "listed twice"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 3]]", "layer 2 reads nothing"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [0, 2], [1, 2]]", "the exit (3) reads nothing"),
        ("layers = 2\ngrowth = 4\nedges = []", "reads nothing"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 2, 3]]", "a link is [from, to]"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [-1, 2]]", "line 3"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [0, 2], [2, 3]]", "layer 1 is read by nobody"),
        ("layers = 2\ngrowth = 4\nedges = [[0, 1], [1, 2], [2, 9]]", "a link leads to 9"),
        ("layers = 2\ngather = 'base:1'\ngrowth = 4", "from base 2 on"),
        ("layers = 2\ngather = 'all'\nhow = 'sum'\nstem = 3", "cannot be summed"),
        ("layers = 2\ngather = 'all'\nhow = 'mixed'\nadded = 40\ngrowth = 4\nstem = 8", "would add 40 channels"),
        ("layers = 0\ngather = 'all'\ngrowth = 4", "at least one layer"),
        ("layers = 2\nlinks = 4", "line 2: unknown field `links`"),
    ] {
        std::fs::write(place.path("mine.toml"), file).expect("writable");
        let refused = place.refused(2, &["train", "--model", "mine.toml", "--data", "synthetic:32,16"]);
        assert!(refused.contains("mine.toml") && refused.contains(message), "{refused}");
        let refused = place.refused(2, &["topology", "--gather", "edges:mine.toml"]);
        assert!(refused.contains("mine.toml: ") && refused.contains(message), "{refused}");
    }
    for (model, message) in [
        ("densenet41-12", "near it are 40 and 43"),
        ("densenet0-12", "near it are 7 and 10"),
        ("sparsenet-bc99-12", "near it are 94 and 100"),
        ("sparsenet-sum41", "near it are 38 and 40"),
        ("sparsenet40-12-base1", "from base 2 on"),
        ("mixnet41-12-12", "near it are 40 and 46"),
        ("dpn50", "26 or 92"),
        ("preact-resnet21", "near it are 20 and 26"),
        ("wired-base0-sum20", "from base 2 on"),
    ] {
        let refused = place.refused(2, &["train", "--model", model, "--data", "synthetic:32,16"]);
        assert!(refused.contains(message), "{refused}");
    }
    assert_eq!(place.names(""), ["mine.toml"], "nothing was begun");
    let refused = |args: &[&str]| place.refused(2, &[&["topology"], args].concat());
    assert!(refused(&["--layers", "0"]).contains("at least one layer"));
    assert!(refused(&["--layers", "4", "--gather", "base:1"]).contains("from base 2 on"));
    assert!(refused(&["--layers", "4", "--gather", "nearest"]).contains("there are all, previous"));
    assert!(refused(&["--layers", "4", "--how", "add"]).contains("sum, concat, mixed and dual"));
    assert!(refused(&["--layers", "4", "--path", "7,0"]).contains("to 5, its exit"));
    assert!(refused(&["--layers", "4", "--path", "1"]).contains("two indices"));
    assert!(refused(&["--gather", "all"]).contains("--layers N"));
    assert!(
        refused(&["--layers", "4", "--gather", "edges:none.toml"]).contains("cannot read the wiring file none.toml")
    );
    assert!(refused(&["--layers", "4", "--gather", "edges:"]).contains("names no file"));
    assert!(refused(&["--layers", "4", "--growth", "1,2"]).contains("--growth takes one number, or three"));
    assert!(refused(&["--layers", "4", "--growth", "0"]).contains("without channels"));
    assert!(refused(&["--layers", "201", "--svg", "x.svg"]).contains("at most 200"));
}
