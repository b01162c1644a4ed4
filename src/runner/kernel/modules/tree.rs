//! A kernel's modules, where they lie: installed below `lib/modules/RELEASE`, or in a tree where they
//! were built. Nothing is written there, and nothing there is followed out of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use object::read::ReadCache;

use super::info::{self, Info, is_pattern, plain};
use super::{Module, ModulesError};
use crate::runner::host::beneath::{BeneathError, Root};
use crate::runner::kernel::packing::unpacking;

/// Where modules are looked for, as depmod's own configuration has it: what was added comes before
/// what the kernel brought. `build`, `source`, and whatever else lies there is nobody's module.
const FOLDERS: [&str; 3] = ["updates", "extra", "kernel"];
/// What the names of modules end with.
const ENDINGS: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];
/// Text files of a kernel's modules have a few megabytes.
const TEXT_LIMIT: u64 = 64 << 20;
/// The largest module with all its debug information; also what it may unpack to.
const MODULE_LIMIT: u64 = 512 << 20;
/// Kernels have a tenth of these modules.
const MOST_MODULES: usize = 100_000;
/// Folders within folders; kernels have ten.
const DEPTH: usize = 32;
/// Where depmod keeps the modules' other names.
const ALIASES: &str = "modules.alias";

/// The modules of one kernel.
#[derive(Debug, Clone)]
pub struct ModuleTree(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Root,
    release: String,
    files: BTreeMap<String, PathBuf>,
    built_in: Option<BuiltIn>,
    aliases: OnceLock<HashMap<String, Vec<String>>>,
}

/// What the kernel has without a module.
#[derive(Debug)]
struct BuiltIn {
    names: HashSet<String>,
    aliases: HashSet<String>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// These modules.
    Modules(Vec<String>),
    /// A part of the kernel.
    BuiltIn,
    /// Nothing that this kernel is known to have.
    Nothing,
}

impl ModuleTree {
    /// The modules in `lib/modules/RELEASE`.
    ///
    /// # Errors
    /// Where there are none, and where something in it leads out of it.
    pub fn installed(root: Root, release: &str) -> Result<ModuleTree, ModulesError> {
        let mut files = BTreeMap::new();
        let mut left = MOST_MODULES;
        for folder in FOLDERS {
            walk(&root, Path::new(folder), DEPTH, &mut left, &mut files)?;
        }
        let tree = ModuleTree::of(root, release, files)?;
        let told = |name: &str| tree.0.root.is_file(Path::new(name));
        if tree.0.files.is_empty() && !told("modules.order") && !told("modules.builtin") {
            let path = tree.0.root.path().to_owned();
            return Err(ModulesError::NoModules { path, release: release.to_owned() });
        }
        Ok(tree)
    }

    /// The modules of a built tree, as its `modules.order` lists them; nothing where it has none.
    ///
    /// # Errors
    /// Where something in it leads out of it.
    pub fn built(root: Root, release: &str) -> Result<Option<ModuleTree>, ModulesError> {
        // A tree without modules (CONFIG_MODULES=n) has no list of them.
        let Some(order) = root.text(Path::new("modules.order"), TEXT_LIMIT)? else {
            return Ok(None);
        };
        let paths = order.lines().filter_map(listed_path);
        // What "make modules" has not built yet is as good as not configured.
        let present = paths.filter(|path| root.is_file(path));
        let files = present.filter_map(|path| Some((module_name(&path)?, path))).collect();
        ModuleTree::of(root, release, files).map(Some)
    }

    fn of(
        root: Root,
        release: &str,
        files: BTreeMap<String, PathBuf>,
    ) -> Result<ModuleTree, ModulesError> {
        let built_in = built_in(&root)?;
        let (release, aliases) = (release.to_owned(), OnceLock::new());
        Ok(ModuleTree(Arc::new(Inner { root, release, files, built_in, aliases })))
    }

    /// The kernel's release, as `uname -r` says it.
    pub fn release(&self) -> &str {
        &self.0.release
    }

    /// The folder of the modules: `lib/modules/RELEASE`, or the tree.
    pub fn dir(&self) -> &Path {
        self.0.root.path()
    }

    /// The names of all modules.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.files.keys().map(String::as_str)
    }

    /// There is a list of what is built in.
    pub fn knows_built_in(&self) -> bool {
        self.0.built_in.is_some()
    }

    /// What `name` stands for: a module, or another name of some.
    pub fn meaning(&self, name: &str) -> Meaning {
        let name = plain(name);
        if self.0.files.contains_key(&name) {
            return Meaning::Modules(vec![name]);
        }
        let built_in = |set: fn(&BuiltIn) -> &HashSet<String>| {
            self.0.built_in.as_ref().is_some_and(|known| set(known).contains(&name))
        };
        if built_in(|known| &known.names) {
            return Meaning::BuiltIn;
        }
        // modprobe's order: a checksum that is built in may have a faster one as a module.
        match self.aliases().get(&name) {
            Some(modules) => Meaning::Modules(modules.clone()),
            None if built_in(|known| &known.aliases) => Meaning::BuiltIn,
            None => Meaning::Nothing,
        }
    }

    /// Reads and unpacks the module `name`: the guest's kernel takes plain ELF only.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or is no module.
    pub fn load(&self, name: &str) -> Result<(Module, Info), ModulesError> {
        let (path, file) = self.open(name)?;
        let broken = |source| ModulesError::Broken { path: path.clone(), source };
        let mut contents = Vec::new();
        let limit = MODULE_LIMIT.saturating_add(1);
        let mut input = unpacking(BufReader::new(file)).map_err(broken)?.take(limit);
        input.read_to_end(&mut contents).map_err(broken)?;
        if u64::try_from(contents.len()).map_or(true, |length| length > MODULE_LIMIT) {
            return Err(BeneathError::TooLarge { path, limit: MODULE_LIMIT }.into());
        }
        let info = info::read(&contents[..])
            .ok_or_else(|| broken(std::io::Error::other("it is no 64-bit module")))?;
        Ok((Module { name: format!("{name}.ko"), contents }, info))
    }

    fn open(&self, name: &str) -> Result<(PathBuf, File), ModulesError> {
        let file = self.0.files.get(name).ok_or_else(|| ModulesError::MissingDriver {
            driver: name.to_owned(),
            release: self.0.release.clone(),
        })?;
        Ok((self.0.root.path().join(file), self.0.root.file(file)?))
    }

    /// Other names of modules. Where depmod has not written them down, every module is asked, once.
    fn aliases(&self) -> &HashMap<String, Vec<String>> {
        self.0.aliases.get_or_init(|| match self.0.root.text(Path::new(ALIASES), TEXT_LIMIT) {
            Ok(Some(text)) => written_aliases(&text),
            _ => self.asked_aliases(),
        })
    }

    fn asked_aliases(&self) -> HashMap<String, Vec<String>> {
        let mut found: HashMap<String, Vec<String>> = HashMap::new();
        for name in self.0.files.keys() {
            // A module that cannot be read has no other name either.
            for alias in self.glance(name).map(|info| info.aliases).unwrap_or_default() {
                found.entry(alias).or_default().push(name.clone());
            }
        }
        found
    }

    /// A module's words; of one that is not packed little more is read.
    fn glance(&self, name: &str) -> Option<Info> {
        let (path, file) = self.open(name).ok()?;
        if path.extension().is_some_and(|ending| ending == "ko") {
            return info::read(&ReadCache::new(file));
        }
        self.load(name).ok().map(|(_, info)| info)
    }

    /// Writes the other names into the folder, for later runs: for folders of our own.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_aliases(&self) -> Result<(), ModulesError> {
        let found = self.asked_aliases();
        let sorted: BTreeMap<_, _> = found.iter().collect();
        let line = |(alias, modules): (&&String, &&Vec<String>)| {
            modules.iter().map(|module| format!("alias {alias} {module}\n")).collect::<String>()
        };
        let text: String = sorted.iter().map(line).collect();
        self.0.root.write(Path::new(ALIASES), &mut text.as_bytes())?;
        Ok(())
    }
}

/// Finds modules in `folder`; the first of a name stays.
fn walk(
    root: &Root,
    folder: &Path,
    depth: usize,
    left: &mut usize,
    found: &mut BTreeMap<String, PathBuf>,
) -> Result<(), ModulesError> {
    for (name, is_dir) in root.names(folder)? {
        let path = folder.join(name);
        *left = left
            .checked_sub(1)
            .filter(|_| depth > 0)
            .ok_or_else(|| ModulesError::TooMany { path: root.path().join(folder) })?;
        if is_dir {
            walk(root, &path, depth.saturating_sub(1), left, found)?;
        } else if let Some(module) = module_name(&path) {
            found.entry(module).or_insert(path);
        }
    }
    Ok(())
}

/// The name of the module in the file at `path`; nothing where it is no module's file.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))?;
    let ordinary = |c: char| c.is_ascii_alphanumeric() || "_-.+".contains(c);
    (!stem.is_empty() && stem.chars().all(ordinary)).then(|| plain(stem))
}

/// A module's place in a tree: modules.order has had "kernel/fs/x.ko", "fs/x.ko" and "fs/x.o".
fn listed_path(line: &str) -> Option<PathBuf> {
    let path = line.trim().strip_prefix("kernel/").unwrap_or(line.trim());
    let stem = path.strip_suffix(".ko").or_else(|| path.strip_suffix(".o"))?;
    let inside = !stem.starts_with('/') && !stem.split('/').any(|part| part == "..");
    inside.then(|| PathBuf::from(format!("{stem}.ko")))
}

/// What is built in; nothing where no list says.
fn built_in(root: &Root) -> Result<Option<BuiltIn>, ModulesError> {
    let Some(list) = root.text(Path::new("modules.builtin"), TEXT_LIMIT)? else { return Ok(None) };
    let names = list.lines().filter_map(|line| module_name(Path::new(line.trim()))).collect();
    let modinfo = root.text(Path::new("modules.builtin.modinfo"), TEXT_LIMIT)?.unwrap_or_default();
    let aliases = modinfo.split('\0').filter_map(|word| word.split_once(".alias="));
    let aliases = aliases.map(|(_, alias)| alias).filter(|a| !is_pattern(a)).map(plain).collect();
    Ok(Some(BuiltIn { names, aliases }))
}

/// depmod's form: `alias NAME MODULE`.
fn written_aliases(text: &str) -> HashMap<String, Vec<String>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (first, alias, module) = (words.next(), words.next(), words.next());
        if let (Some("alias"), Some(alias), Some(module)) = (first, alias, module)
            && !is_pattern(alias)
        {
            found.entry(plain(alias)).or_default().push(plain(module));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::kernel::modules::info::tests::module;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn write(path: PathBuf, contents: &[u8]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn tree(dir: &Path) -> ModuleTree {
        ModuleTree::installed(Root::open(dir).unwrap(), "6.9.0-x").unwrap()
    }

    /// What every `modules_install` leaves, and what distributions add.
    #[test]
    fn links_to_a_build_that_is_gone_are_nobodys_module() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("kernel/fs/a-b.ko"), &module(&["alias=fs-ab"]));
        write(dir.path().join("updates/dkms/a_b.ko"), &module(&["alias=new-ab"]));
        write(dir.path().join("weak-updates/c.ko"), &module(&[]));
        for name in ["build", "source"] {
            symlink("/nowhere/linux-6.9", dir.path().join(name)).unwrap();
        }
        let tree = tree(dir.path());
        assert_eq!(tree.names().collect::<Vec<_>>(), ["a_b"]);
        assert_eq!(tree.meaning("new-ab"), Meaning::Modules(vec!["a_b".into()]));
        assert_eq!(tree.meaning("fs-ab"), Meaning::Nothing, "what was added comes first");
    }

    #[test]
    fn packed_modules_need_no_program_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let plain = module(&["depends=b"]);
        for (name, program) in [("a.ko", "gzip"), ("b.ko", "xz"), ("c.ko", "zstd")] {
            write(dir.path().join("kernel").join(name), &plain);
            let tool = crate::runner::host::tools::Tool::find(program, program).unwrap();
            let tool = if program == "zstd" { tool.args(["-q", "--rm"]) } else { tool };
            tool.arg(dir.path().join("kernel").join(name)).output().unwrap();
        }
        assert!(dir.path().join("kernel/a.ko.gz").is_file());
        let tree = tree(dir.path());
        for name in ["a", "b", "c"] {
            let (module, info) = tree.load(name).unwrap();
            assert_eq!((module.name, module.contents), (format!("{name}.ko"), plain.clone()));
            assert_eq!(info.depends, ["b"]);
        }
        write(dir.path().join("kernel/d.ko"), b"no module");
        let error = self::tree(dir.path()).load("d").unwrap_err().to_string();
        assert!(error.contains("d.ko"), "{error}");
    }

    /// `kernel -> /lib/modules/…/kernel` would show the host's modules as the package's.
    #[test]
    fn a_folder_elsewhere_is_no_folder_of_modules() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("host/fs/a.ko"), &module(&[]));
        fs::create_dir(dir.path().join("root")).unwrap();
        symlink("../host", dir.path().join("root/kernel")).unwrap();
        let root = Root::open(&dir.path().join("root")).unwrap();
        let error = ModuleTree::installed(root, "6.9").unwrap_err();
        assert!(matches!(error, ModulesError::Beneath(BeneathError::LeadsOut { .. })), "{error}");
        fs::remove_file(dir.path().join("root/kernel")).unwrap();
        write(dir.path().join("root/kernel/modules.order"), b"");
        symlink("../../host/fs/a.ko", dir.path().join("root/kernel/a.ko")).unwrap();
        let error = tree(&dir.path().join("root")).load("a").unwrap_err();
        assert!(matches!(error, ModulesError::Beneath(BeneathError::LeadsOut { .. })), "{error}");
    }

    #[test]
    fn module_order_has_had_three_forms() {
        for line in ["kernel/fs/a.ko", "fs/a.ko", "fs/a.o"] {
            assert_eq!(listed_path(line), Some("fs/a.ko".into()));
        }
        assert_eq!(listed_path("../../etc/passwd.ko"), None);
        assert_eq!(listed_path(""), None);
    }

    #[test]
    fn what_was_asked_once_is_read_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("kernel/crc32c_generic.ko"), &module(&["alias=crc32c"]));
        write(dir.path().join("kernel/crc32c-intel.ko"), &module(&["alias=crc32c", "alias=x*"]));
        let both = Meaning::Modules(vec!["crc32c_generic".into(), "crc32c_intel".into()]);
        let first = tree(dir.path());
        let sorted = |meaning| match meaning {
            Meaning::Modules(mut names) => {
                names.sort();
                Meaning::Modules(names)
            }
            other => other,
        };
        assert_eq!(sorted(first.meaning("crc32c")), both);
        first.write_aliases().unwrap();
        let text = fs::read_to_string(dir.path().join(ALIASES)).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(sorted(tree(dir.path()).meaning("crc32c")), both);
    }
}
