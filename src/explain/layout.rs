//! Where what is asked for stands in a kernel's structures: by its own BTF.

use super::btf::Btf;

/// The most flags that a page has, and the longest name that one of them is believed to have.
const MAX_FLAGS: u32 = 64;
const MAX_NAME: usize = 24;

/// Offsets in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The size of a `struct page`.
    pub page_bytes: u64,
    /// `page.flags`.
    pub flags: u64,
    /// `page.mapping`.
    pub mapping: u64,
    /// `page.index`.
    pub index: u64,
    /// `page._mapcount`, which is the type of a page that has one.
    pub mapcount: u64,
    /// `page._refcount`.
    pub refcount: u64,
    /// `page.compound_head`, or what became of it.
    pub compound: u64,
    /// `address_space.host`.
    pub host: u64,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `inode.i_mode`.
    pub mode: u64,
    /// `inode.i_rdev`.
    pub rdev: u64,
    /// `inode.i_sb`.
    pub sb: u64,
    /// `super_block.s_dev`.
    pub dev: u64,
    /// Where a file's names are; a kernel that hides them has pages all the same.
    pub entry: Option<Entry>,
    /// The bit and the name of each flag of a page.
    pub names: Vec<(u32, String)>,
}

/// Names of files, in `struct dentry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// `inode.i_dentry`: the first name.
    pub first: u64,
    /// `dentry.d_u.d_alias`: what that leads to.
    pub alias: u64,
    /// `dentry.d_name.name`.
    pub name: u64,
    /// `dentry.d_parent`.
    pub parent: u64,
}

impl Entry {
    fn of(btf: &Btf) -> Option<Entry> {
        Some(Entry {
            first: btf.offset("inode", "i_dentry")?,
            alias: btf.offset("dentry", "d_u").or_else(|| btf.offset("dentry", "d_alias"))?,
            name: btf.offset("dentry", "d_name")?.checked_add(btf.offset("qstr", "name")?)?,
            parent: btf.offset("dentry", "d_parent")?,
        })
    }
}

impl Layout {
    /// Reads it out of a kernel's types.
    pub fn of(btf: &Btf) -> Option<Layout> {
        // Newer kernels move members from the page to the folio, which lies over it.
        let of_page = |names: &[&str]| {
            let places = ["page", "folio"]
                .into_iter()
                .flat_map(|of| names.iter().map(move |name| (of, name)));
            places.into_iter().find_map(|(of, name)| btf.offset(of, name))
        };
        Some(Layout {
            page_bytes: btf.size("page").filter(|size| (32..=4096).contains(size))?,
            flags: of_page(&["flags"])?,
            mapping: of_page(&["mapping"])?,
            index: of_page(&["index", "__folio_index"])?,
            mapcount: of_page(&["_mapcount"])?,
            refcount: of_page(&["_refcount"])?,
            compound: of_page(&["compound_head", "compound_info"])?,
            host: btf.offset("address_space", "host")?,
            ino: btf.offset("inode", "i_ino")?,
            mode: btf.offset("inode", "i_mode")?,
            rdev: btf.offset("inode", "i_rdev")?,
            sb: btf.offset("inode", "i_sb")?,
            dev: btf.offset("super_block", "s_dev")?,
            entry: Entry::of(btf),
            names: flag_names(&btf.values("pageflags")?),
        })
    }

    /// The names of the flags that are set.
    pub fn spell(&self, flags: u64) -> Vec<String> {
        let set = self.names.iter().filter(|(bit, _)| flags >> bit & 1 != 0);
        set.map(|(_, name)| name.clone()).collect()
    }
}

/// The first name of each bit; those behind it are what other pages call it (`enum pageflags`).
fn flag_names(values: &[(&str, u32)]) -> Vec<(u32, String)> {
    let mut names: Vec<(u32, String)> = Vec::new();
    for (name, bit) in values {
        let Some(name) = name.strip_prefix("PG_").filter(|name| is_plain(name)) else { continue };
        if *bit < MAX_FLAGS && names.iter().all(|(known, _)| known != bit) {
            names.push((*bit, name.to_owned()));
        }
    }
    names
}

/// A guest's word that may stand in a record as it is.
fn is_plain(name: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_fit)
}
