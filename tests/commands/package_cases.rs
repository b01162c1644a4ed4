//! Kernels that were blamed or refused, or did harm, once, or could: tests/cases/kernels.

use std::fs;
use std::path::{Path, PathBuf};

use crate::kit::packing::place::Place;
use crate::kit::packing::{Item, Kind, What, file, kernel, link};

/// A case of tests/cases/kernels: what there is, what is given to --kernel, and what comes of it.
struct Case {
    name: String,
    items: Vec<Item>,
    given: String,
    modules: Option<String>,
    status: i32,
    says: String,
}

impl Case {
    fn read(path: &Path) -> Case {
        let text = fs::read_to_string(path).unwrap();
        let setting = |key: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(key));
            values.next().map(|value| value.trim().to_owned())
        };
        let needed = |key: &str| setting(key).unwrap_or_else(|| panic!("{path:?}: no {key}"));
        Case {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            items: text.lines().filter_map(Case::item).collect(),
            given: needed("give:"),
            modules: setting("modules:"),
            status: needed("status:").parse().unwrap(),
            says: needed("says:"),
        }
    }

    fn item(line: &str) -> Option<Item> {
        let (what, rest) = line.split_once(' ')?;
        let (path, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut image = kernel(value);
        match what {
            "text" => Some(file(path, value.as_bytes())),
            "link" => Some(link(path, value)),
            "bzimage" => Some(file(path, &image)),
            "bzimage32" => {
                image[0x236] = 0;
                Some(file(path, &image))
            }
            "arm64" => {
                image[0x38..0x3c].copy_from_slice(b"ARM\x64");
                image[0x202] = 0;
                Some(file(path, &image))
            }
            _ => None,
        }
    }

    /// Makes it in `place`; what --kernel and --modules are given.
    fn make(&self, place: &Place) -> (PathBuf, Option<PathBuf>) {
        let kinds = [("deb", Kind::Deb), ("rpm", Kind::Rpm), ("pacman", Kind::Pacman)];
        if let Some((_, kind)) = kinds.iter().find(|(name, _)| *name == self.given) {
            let name = format!("{}{}", self.name, kind.ending());
            return (place.package(&name, &kind.of(&self.items)), None);
        }
        let folder = place.dir.path().join(&self.name);
        for item in &self.items {
            let path = folder.join(&item.name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match &item.what {
                What::File(contents) => fs::write(path, contents).unwrap(),
                What::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        let given = if self.given == "folder" { folder.clone() } else { folder.join(&self.given) };
        (given, self.modules.as_ref().map(|modules| folder.join(modules)))
    }
}

/// Kernels that were blamed or refused, or did harm, once, or could.
#[test]
fn every_case_comes_to_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/kernels");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 12, "{paths:?}");
    let place = Place::new();
    for path in paths {
        let case = Case::read(&path);
        let (given, modules) = case.make(&place);
        let (status, said) = place.run_with(&given, modules.as_deref());
        assert_eq!(status, case.status, "{}: {said}", case.name);
        assert!(said.contains(&case.says), "{}: {said}", case.name);
        place.check(&case.name);
    }
}
