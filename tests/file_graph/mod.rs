//! Which file of the library uses which: names are followed through re-exports to the file that
//! defines them, so a folder's `mod.rs` hides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemImpl, ItemMod, ItemUse, Type, UseTree, Visibility};

/// A path from the crate's root.
type Place = Vec<String>;

/// What one file says.
#[derive(Debug, Default)]
struct Source {
    /// Where the file is, below `src/`.
    file: String,
    /// Names that it defines.
    defined: BTreeSet<String>,
    /// What `use` brings to it: the name, and what it stands for.
    brought: BTreeMap<String, Place>,
    /// What it names of other files; re-exports are not among it.
    named: BTreeSet<Place>,
    /// The types that it has inherent `impl`s of.
    extended: BTreeSet<String>,
}

/// The files of a library by their module's path.
#[derive(Debug, Default)]
pub struct FileGraph {
    sources: BTreeMap<Place, Source>,
}

impl FileGraph {
    /// Reads all files below `root`, but for programs and tests.
    pub fn read(root: &Path) -> FileGraph {
        let mut graph = FileGraph::default();
        for path in files_below(root) {
            let file = path.strip_prefix(root).unwrap().display().to_string();
            let parts: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
            if parts.contains(&"bin") || parts.contains(&"tests") {
                continue;
            }
            graph.add(&file, &fs::read_to_string(&path).unwrap());
        }
        graph
    }

    /// Adds a file.
    pub fn add(&mut self, file: &str, text: &str) {
        let place = place_of(file);
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut reader = Reader {
            place: place.clone(),
            is_folder: file.ends_with("/mod.rs") || file == "lib.rs",
            source: Source { file: file.to_owned(), ..Source::default() },
        };
        reader.visit_file(&syntax);
        self.sources.insert(place, reader.source);
    }

    /// The files that each file uses.
    pub fn edges(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut edges = BTreeMap::new();
        for source in self.sources.values() {
            let used: BTreeSet<&str> = source
                .named
                .iter()
                .filter_map(|place| self.definer(place, 0))
                .filter(|file| *file != source.file)
                .collect();
            edges.insert(source.file.as_str(), used);
        }
        edges
    }

    /// Sets of files each of which reaches all others of its set.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let edges = self.edges();
        let reach: BTreeMap<&str, BTreeSet<&str>> =
            edges.keys().map(|file| (*file, reached_from(file, &edges))).collect();
        let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
        for (file, reached) in &reach {
            if reached.contains(file) {
                let others = reached.iter().filter(|other| reach[*other].contains(file));
                circles.insert(others.copied().collect());
            }
        }
        circles.into_iter().collect()
    }

    /// Files with an inherent `impl` of a type that another file defines, and the type.
    pub fn spread_impls(&self) -> Vec<(&str, &str)> {
        let foreign = |source: &Source, name: &str| {
            !source.defined.contains(name) && source.brought.contains_key(name)
        };
        self.sources
            .values()
            .flat_map(|source| source.extended.iter().map(move |name| (source, name)))
            .filter(|(source, name)| foreign(source, name))
            .map(|(source, name)| (source.file.as_str(), name.as_str()))
            .collect()
    }

    /// The file that defines what a path names.
    fn definer(&self, place: &[String], depth: usize) -> Option<&str> {
        let mut module = Place::new();
        for (at, name) in place.iter().enumerate() {
            let mut inner = module.clone();
            inner.push(name.clone());
            if self.sources.contains_key(&inner) {
                module = inner;
                continue;
            }
            let source = self.sources.get(&module)?;
            return match source.brought.get(name) {
                // A type's own name, brought in from elsewhere; a ring of re-exports has no end.
                Some(target) if !source.defined.contains(name) && depth < 8 => {
                    let full: Place = target.iter().chain(&place[at + 1..]).cloned().collect();
                    self.definer(&full, depth + 1)
                }
                _ => Some(&source.file),
            };
        }
        self.sources.get(&module).map(|source| source.file.as_str())
    }
}

fn reached_from<'a>(
    start: &'a str,
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![start];
    while let Some(file) = next.pop() {
        for used in edges.get(file).into_iter().flatten() {
            if reached.insert(*used) {
                next.push(used);
            }
        }
    }
    reached
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn place_of(file: &str) -> Place {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// Walks one file.
struct Reader {
    place: Place,
    is_folder: bool,
    source: Source,
}

impl Reader {
    /// A path from the root, where it is one into the crate.
    fn absolute(&self, path: &[String]) -> Option<Place> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.place[..], rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                let kept = self.place.len().checked_sub(ups)?;
                Some([&self.place[..kept], &path[ups..]].concat())
            }
            // Children are named without a prefix; whatever else is so comes from another crate.
            _ if self.is_folder && self.source.defined.contains(first) => {
                Some([&self.place[..], path].concat())
            }
            _ => None,
        }
    }

    fn bring(&mut self, tree: &UseTree, path: &mut Vec<String>, reexport: bool) {
        match tree {
            UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.bring(&inner.tree, path, reexport);
                path.pop();
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.bring(tree, path, reexport));
            }
            UseTree::Name(name) => self.note(&name.ident.to_string(), None, path, reexport),
            UseTree::Rename(name) => {
                let known = name.rename.to_string();
                self.note(&name.ident.to_string(), Some(known), path, reexport);
            }
            UseTree::Glob(_) => {
                if let Some(place) = self.absolute(path) {
                    self.source.named.insert(place);
                }
            }
        }
    }

    fn note(&mut self, name: &str, known: Option<String>, path: &[String], reexport: bool) {
        let mut full = path.to_vec();
        // `use super::words::{self, …}` is the module itself.
        if name != "self" {
            full.push(name.to_owned());
        }
        let Some(place) = self.absolute(&full) else { return };
        let known = known.or_else(|| full.last().cloned()).unwrap_or_default();
        self.source.brought.insert(known, place.clone());
        if !reexport {
            self.source.named.insert(place);
        }
    }

    fn define(&mut self, item: &Item) {
        let name = match item {
            Item::Const(it) => &it.ident,
            Item::Enum(it) => &it.ident,
            Item::Fn(it) => &it.sig.ident,
            Item::Mod(it) => &it.ident,
            Item::Static(it) => &it.ident,
            Item::Struct(it) => &it.ident,
            Item::Trait(it) => &it.ident,
            Item::Type(it) => &it.ident,
            Item::Union(it) => &it.ident,
            _ => return,
        };
        self.source.defined.insert(name.to_string());
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let words = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string(),
            _ => return false,
        };
        attribute.path().is_ident("cfg") && words == "test"
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_file(&mut self, file: &'ast syn::File) {
        // What is defined here is known before the first use of it.
        file.items.iter().for_each(|item| self.define(item));
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let reexport = self.is_folder && !matches!(item.vis, Visibility::Inherited);
        if !is_for_tests(&item.attrs) {
            self.bring(&item.tree, &mut Vec::new(), reexport);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if item.trait_.is_none()
            && !is_for_tests(&item.attrs)
            && let Type::Path(path) = &*item.self_ty
            && let Some(name) = path.path.get_ident_or_last()
        {
            self.source.extended.insert(name);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1
            && let Some(place) = self.absolute(&names)
        {
            self.source.named.insert(place);
        }
        visit::visit_path(self, path);
    }
}

trait LastName {
    fn get_ident_or_last(&self) -> Option<String>;
}

impl LastName for syn::Path {
    fn get_ident_or_last(&self) -> Option<String> {
        self.segments.last().map(|segment| segment.ident.to_string())
    }
}
