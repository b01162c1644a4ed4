//! Pages that users read, and the blocks of commands on them.

pub mod ways;

use std::fs;
use std::path::Path;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page that users read: its path from the root, and its text.
pub struct Page {
    pub name: String,
    pub text: String,
}

impl Page {
    /// What stands between single backquotes, outside of blocks.
    pub fn inline_code(&self) -> Vec<&str> {
        let mut found = Vec::new();
        let mut inside = false;
        for paragraph in self.text.split("\n\n") {
            let fences = paragraph.lines().filter(|line| line.starts_with("```")).count();
            if !inside && fences == 0 {
                found.extend(paragraph.split('`').skip(1).step_by(2));
            }
            inside ^= fences % 2 == 1;
        }
        found
    }
}

/// The README first, then what lies in docs/, then the pages of other folders.
pub fn pages() -> Vec<Page> {
    let docs = fs::read_dir(root().join("docs")).unwrap().flatten();
    let names = docs.map(|entry| format!("docs/{}", entry.file_name().display()));
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    names.sort();
    names.insert(0, "README.md".to_owned());
    let others =
        ["BENCH.md", "examples/README.md", "guest-scripts/README.md", "tests/cases/README.md"];
    names.extend(others.map(str::to_owned));
    let page = |name: String| Page { text: fs::read_to_string(root().join(&name)).unwrap(), name };
    names.into_iter().map(page).collect()
}

/// A fenced block of commands.
#[derive(Debug, PartialEq)]
pub struct Block {
    /// `PAGE:LINE`.
    pub place: String,
    /// How it is tested: a word, and more words for it.
    pub way: Option<String>,
    pub script: String,
}

impl Block {
    /// The word that says how, and what it is told.
    pub fn how(&self) -> (&str, Vec<&str>) {
        let mut words = self.way.as_deref().unwrap_or("").split_whitespace();
        (words.next().unwrap_or(""), words.collect())
    }

    /// Where `NOT_RUN` has it: the page and the first line.
    pub fn key(&self) -> (&str, &str) {
        let page = self.place.rsplit_once(':').map_or("", |(page, _)| page);
        (page, self.script.lines().next().unwrap_or(""))
    }
}

/// All `sh` blocks of a page, and the `text` blocks that show a command and what it said, each with the
/// way it is to be tested.
pub fn blocks_of(name: &str, page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut way = None;
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let comment = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(word) = comment {
            way = Some(word.to_owned());
        } else if let Some(language) = line.strip_prefix("```") {
            let body: Vec<_> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            if language == "sh" || body.first().is_some_and(|line| line.starts_with("$ ")) {
                let script = body.join("\n") + "\n";
                let place = format!("{name}:{}", index + 1);
                blocks.push(Block { place, way: way.take(), script });
            }
        } else if !line.trim().is_empty() {
            // The comment stands directly above its block.
            way = None;
        }
    }
    blocks
}
