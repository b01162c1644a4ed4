//! The order of the house: modules import downstream only.
//!
//! The order is the table in src/lib.rs, read from there, so that the table cannot lie. Some
//! modules promise more than the order asks of them; those promises stand in `ONLY`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may state what they know"
)]

mod file_graph;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use file_graph::FileGraph;

/// Modules that may import nothing but what is named here.
const ONLY: &[(&str, &[&str])] = &[
    // The runner knows the contract (records, control protocol, command lines), not the device.
    (
        "runner",
        &["verdict", "guest", "control", "record", "report", "owner", "units", "clock", "pi"],
    ),
    ("owner", &["record", "units"]),
    ("pi", &["units"]),
    ("units", &[]),
];

/// One import: a line of a file of one module names another module.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    to: String,
    place: String,
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The first column of the table in src/lib.rs, from the outermost module to the innermost.
fn order_of(lib_rs: &str) -> Vec<String> {
    lib_rs
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`")?.split_once("`]"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The source without comments and without the insides of string literals, its lines kept:
/// neither imports anything. Lifetimes and other character literals hold no path and can stay.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|&c| c != '\n').is_some() {},
            '"' => {
                while let Some(inside) = rest.next_if(|&c| c != '"') {
                    match inside {
                        '\\' => code.extend(rest.next().filter(|&c| c == '\n')),
                        '\n' => code.push('\n'),
                        _ => {}
                    }
                }
                rest.next();
            }
            // A quote in a character literal opens no string.
            '\'' if rest.peek() == Some(&'"') => drop(rest.next()),
            _ => code.push(c),
        }
    }
    code
}

/// The names that directly follow a path in a piece of code: one, or those of a braced list.
fn names_after(tail: &str) -> Vec<String> {
    let tail = tail.trim_start();
    let Some(list) = tail.strip_prefix('{') else {
        return vec![identifier(tail)];
    };
    let mut depth = 0_usize;
    let mut names = Vec::new();
    let mut at_start = true;
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(identifier(&list[i..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Every module that `source`, a file of module `from`, names by `crate::`, or by a chain of
/// `super::` that leads out of the module. `own` are the module's own children.
fn imports_of(
    from: &str,
    source: &str,
    file: &str,
    order: &[String],
    own: &BTreeSet<String>,
) -> Vec<Import> {
    let code = code_of(source);
    let mut found = Vec::new();
    for path in ["crate::", "super::"] {
        for (at, _) in code.match_indices(path) {
            let line = code[..at].matches('\n').count() + 1;
            for to in names_after(&code[at + path.len()..]) {
                let is_module = order.contains(&to) && to != from;
                if is_module && (path == "crate::" || !own.contains(&to)) {
                    let place = format!("{file}:{line}");
                    found.push(Import { from: from.to_owned(), to, place });
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What is wrong with an import, if anything is.
fn objection(import: &Import, order: &[String]) -> Option<String> {
    let Import { from, to, place } = import;
    let rank = |name: &str| order.iter().position(|module| module == name);
    if rank(to) <= rank(from) {
        return Some(format!("{place}: {from} imports {to}, which stands above it in src/lib.rs"));
    }
    let (_, allowed) = ONLY.iter().find(|(module, _)| module == from)?;
    (!allowed.contains(&to.as_str()))
        .then(|| format!("{place}: {from} imports {to}; it may import only {allowed:?}"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("src/ can be read") {
        let path = entry.expect("src/ can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The top-level module a file belongs to; none for the crate's root and the programs.
fn module_of(file: &Path, root: &Path) -> Option<String> {
    let first = file.strip_prefix(root).ok()?.iter().next()?.to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "bin")).then(|| name.to_owned())
}

/// The names inside a module, at any depth: what `super::` can reach there.
fn children_of(module: &str, root: &Path) -> BTreeSet<String> {
    let folder = root.join(module);
    if !folder.is_dir() {
        return BTreeSet::new();
    }
    rust_files(&folder)
        .iter()
        .filter_map(|path| path.strip_prefix(&folder).ok())
        .flat_map(|path| path.iter().filter_map(|name| name.to_str()))
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect()
}

fn order_of_the_house() -> Vec<String> {
    order_of(&fs::read_to_string(source_root().join("lib.rs")).unwrap())
}

#[test]
fn imports_point_downstream_only() {
    let root = source_root();
    let order = order_of_the_house();
    let mut seen = 0;
    let mut objections = Vec::new();
    for file in rust_files(&root) {
        let Some(module) = module_of(&file, &root) else { continue };
        let source = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let own = children_of(&module, &root);
        let imports = imports_of(&module, &source, &name, &order, &own);
        seen += imports.len();
        objections.extend(imports.iter().filter_map(|import| objection(import, &order)));
    }
    assert!(seen > 5, "only {seen} imports found: the search itself is broken");
    assert!(objections.is_empty(), "{}", objections.join("\n"));
}

#[test]
fn the_table_names_every_module_once() {
    let root = source_root();
    let mut listed = order_of_the_house();
    listed.sort();
    let there: BTreeSet<_> =
        rust_files(&root).iter().filter_map(|file| module_of(file, &root)).collect();
    assert_eq!(listed, there.into_iter().collect::<Vec<_>>());
}

/// Rooms whose files may still use each other in circles.
const CIRCLES: &[&str] = &[];

/// Rooms where a type's own functions may still be spread over files.
const SPREAD: &[&str] = &["verdict/"];

/// Read once for all tests.
static LIBRARY: LazyLock<FileGraph> = LazyLock::new(|| FileGraph::read(&source_root()));

fn is_in(rooms: &[&str], file: &str) -> bool {
    rooms.iter().any(|room| file.starts_with(room))
}

#[test]
fn no_two_files_need_each_other() {
    let graph = &*LIBRARY;
    assert!(graph.edges().values().map(BTreeSet::len).sum::<usize>() > 300, "{:?}", graph.edges());
    let circles = graph.circles();
    let told: Vec<_> =
        circles.iter().filter(|files| !files.iter().all(|file| is_in(CIRCLES, file))).collect();
    assert!(told.is_empty(), "files that need each other: {told:#?}");
    for room in CIRCLES {
        let has_one = circles.iter().flatten().any(|file| file.starts_with(room));
        assert!(has_one, "{room} has no circle any more: strike it from CIRCLES");
    }
}

/// The rooms of the runner have an order of their own, in src/runner/mod.rs.
#[test]
fn rooms_of_the_runner_import_downstream_only() {
    let text = fs::read_to_string(source_root().join("runner/mod.rs")).unwrap();
    let order = order_of(&text);
    let room =
        |file: &str| file.strip_prefix("runner/")?.split_once('/').map(|(room, _)| room.to_owned());
    let rank = |room: &str| {
        let at = order.iter().position(|known| known == room);
        at.unwrap_or_else(|| panic!("the table in src/runner/mod.rs lacks {room}"))
    };
    let edges = LIBRARY.edges();
    let across: Vec<(&str, String, String)> = edges
        .iter()
        .flat_map(|(file, used)| used.iter().map(move |other| (*file, *other)))
        .filter_map(|(file, other)| Some((file, room(file)?, room(other)?)))
        .filter(|(_, from, to)| from != to)
        .collect();
    assert!(across.len() > 50, "only {} imports between rooms: the search is broken", across.len());
    let told: Vec<String> = across
        .iter()
        .filter(|(_, from, to)| rank(to) < rank(from))
        .map(|(file, _, to)| format!("{file} imports {to}, which stands above it"))
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    let there: BTreeSet<String> = edges.keys().filter_map(|file| room(file)).collect();
    assert_eq!(there.len(), order.len(), "each room stands in the table once");
}

#[test]
fn a_type_has_its_functions_in_its_own_file() {
    let spread = LIBRARY.spread_impls();
    let told: Vec<_> = spread.iter().filter(|(file, _)| !is_in(SPREAD, file)).collect();
    assert!(told.is_empty(), "types with functions in files that do not define them: {told:#?}");
    for room in SPREAD {
        let has_one = spread.iter().any(|(file, _)| file.starts_with(room));
        assert!(has_one, "{room} has none any more: strike it from SPREAD");
    }
}

mod the_file_graph {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> FileGraph {
        let mut graph = FileGraph::default();
        files.iter().for_each(|(file, text)| graph.add(file, text));
        graph
    }

    #[test]
    fn follows_names_through_re_exports() {
        let graph = graph(&[
            ("lib.rs", "pub mod a; pub mod b;"),
            ("a/mod.rs", "mod deep; pub use deep::Thing as Known;"),
            ("a/deep.rs", "pub struct Thing;"),
            ("b.rs", "use crate::a::{self, Known}; fn f() -> crate::a::Known { a::Known::new() }"),
        ]);
        assert!(graph.edges()["b.rs"].contains("a/deep.rs"));
        assert!(graph.circles().is_empty());
    }

    #[test]
    fn finds_circles_of_two_files_and_of_more() {
        let graph = graph(&[
            ("lib.rs", "pub mod a;"),
            ("a/mod.rs", "mod x; mod y; mod z; pub use x::X; pub use y::Y;"),
            ("a/x.rs", "use super::Y; pub struct X;"),
            ("a/y.rs", "pub struct Y; fn f() { super::z::g() }"),
            ("a/z.rs", "pub fn g() -> crate::a::X { todo!() }"),
        ]);
        assert_eq!(graph.circles(), [["a/x.rs", "a/y.rs", "a/z.rs"]]);
    }

    #[test]
    fn leaves_tests_alone() {
        let graph = graph(&[
            ("a/mod.rs", "mod x; mod y;"),
            ("a/x.rs", "pub struct X; #[cfg(test)] mod tests { use super::super::y::Y; }"),
            ("a/y.rs", "use super::x::X; pub struct Y;"),
        ]);
        assert!(graph.circles().is_empty());
    }

    #[test]
    fn finds_functions_of_a_type_in_another_file() {
        let graph = graph(&[
            ("a/mod.rs", "mod x; mod y;"),
            ("a/x.rs", "pub struct X; impl X { fn own(&self) {} }"),
            ("a/y.rs", "use super::x::X; impl X { fn far(&self) {} } impl Clone for X {}"),
        ]);
        assert_eq!(graph.spread_impls(), [("a/y.rs", "X")]);
    }
}

mod the_check_itself {
    use super::*;

    fn order() -> Vec<String> {
        ["runner", "transport", "trap", "media", "pi", "units"].map(str::to_owned).to_vec()
    }

    fn objections(module: &str, source: &str) -> Vec<String> {
        imports_of(module, source, "a.rs", &order(), &BTreeSet::new())
            .iter()
            .filter_map(|import| objection(import, &order()))
            .collect()
    }

    #[test]
    fn finds_an_import_that_points_upstream() {
        let found = objections("media", "\nuse crate::trap::Window;\n");
        assert_eq!(found, ["a.rs:2: media imports trap, which stands above it in src/lib.rs"]);
    }

    #[test]
    fn finds_it_in_a_list_in_a_body_and_behind_super() {
        for source in [
            "use crate::{units::Lba, transport::{Ring, Worker}};",
            "fn f() { let w = crate::transport::Worker::new(); }",
            "use super::transport;",
            "use super::super::transport::Ring;",
            "use crate::{\n    pi,\n    transport,\n};",
        ] {
            assert_eq!(objections("trap", source).len(), 1, "{source}");
        }
    }

    #[test]
    fn finds_what_a_module_promised_not_to_import() {
        assert_eq!(objections("runner", "use crate::media::File;").len(), 1);
        assert_eq!(objections("runner", "use crate::units::Lba;"), [""; 0]);
    }

    #[test]
    fn leaves_downstream_imports_comments_and_strings_alone() {
        let source = r#"
            // use crate::transport::Worker;
            //! [`crate::transport`]
            use crate::{media, pi::{self, Tuple}, units::{trap, Lba}};
            const HINT: &str = "see crate::transport \" and crate::runner";
            const QUOTE: char = '"';
            fn f() { crate::trap::g(); }
        "#;
        assert_eq!(objections("trap", source), [""; 0]);
    }

    #[test]
    fn tells_a_child_from_a_module_of_the_same_name() {
        let own = BTreeSet::from(["transport".to_owned()]);
        let count = |source| imports_of("trap", source, "a.rs", &order(), &own).len();
        assert_eq!(count("use super::transport;"), 0);
        assert_eq!(count("use crate::transport;"), 1);
    }

    #[test]
    fn reads_the_table() {
        let lib = "//! | module | what |\n//! |---|---|\n//! | [`a`] | x |\n//! | [`b`] | y |\n";
        assert_eq!(order_of(lib), ["a", "b"]);
    }
}
