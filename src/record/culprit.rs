//! Who changed the bytes of a race, as far as a watcher saw it.

use serde::{Deserialize, Serialize};

use super::page::Page;
use super::race::RaceId;

/// Whose instruction made a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The kernel's.
    Kernel,
    /// A program's.
    User,
}

/// How the callers of an instruction were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackBy {
    /// Unwound by the kernel's own tables: no guess is in it.
    Orc,
    /// Every word that could be a return address: guesses.
    Scan,
    /// Not at all.
    None,
}

/// A store to bytes that raced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreSeen {
    /// Where the run of changed bytes begins that it explains, in bytes from the block's start.
    pub offset: usize,
    /// How long that run is.
    pub length: usize,
    /// Whose instruction it was.
    #[serde(rename = "in")]
    pub side: Side,
    /// The instruction: `ext4_inode_csum_set+0x7b`, or its address where the kernel's names are not known. `None`
    /// for a program's.
    pub symbol: Option<String>,
    /// The kernel module that it is in.
    pub module: Option<String>,
    /// The program's file, by its path in its file system.
    pub path: Option<String>,
    /// Which byte of that file the instruction is.
    pub file_offset: Option<u64>,
    /// The line of source, where somebody has one.
    pub source: Option<String>,
    /// The CPU that made it.
    pub cpu: u64,
    /// The process; `None` for an interrupt, which is nobody's doing, and where the kernel's tasks are not known.
    pub pid: Option<u32>,
    /// The thread.
    pub tid: Option<u32>,
    /// The thread's name.
    pub comm: Option<String>,
    /// When the watcher was told of it, in microseconds from the doorbell sample: at once behind it, or later.
    pub after_doorbell_us: f64,
    /// The bytes that it left are the ones that were fetched, or it is the only one that stored there. Else it touched
    /// the bytes, and does not explain them.
    pub certain: bool,
    /// The callers, the innermost first.
    pub stack: Vec<String>,
    /// How they were found.
    pub stack_by: StackBy,
}

/// Who rang the doorbell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitter {
    /// The thread's name.
    pub comm: String,
    /// Its callers, the innermost first.
    pub stack: Vec<String>,
}

/// What a watcher saw of one race. `dixtrapd --watch` writes these lines to `culprits.jsonl`, beside the records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Culprit {
    /// The race's `id`.
    pub race: RaceId,
    /// One store for each run of changed bytes, where there is one.
    pub stores: Vec<StoreSeen>,
    /// How many stores to the block were seen between doorbell and fetch, or a little later.
    pub store_count: u64,
    /// Who rang the doorbell, where that is known.
    pub submitter: Option<Submitter>,
    /// The page's state, as the race's own record has it.
    pub page: Option<Page>,
    /// Why no store explains the change, where none does.
    pub unseen: Option<String>,
}

impl Culprit {
    /// The store that is to blame: the first one that explains its bytes.
    pub fn blamed(&self) -> Option<&StoreSeen> {
        self.stores.iter().find(|store| store.certain)
    }
}

impl StoreSeen {
    /// What it is counted by: the instruction, or the program's file and place.
    pub fn name(&self) -> String {
        match (&self.symbol, &self.path, self.file_offset) {
            (Some(symbol), _, _) => match &self.module {
                Some(module) => format!("{symbol} [{module}]"),
                None => symbol.clone(),
            },
            (None, Some(path), Some(at)) => format!("{path} byte {at:#x}"),
            _ => "a program's instruction".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_fields_of_its_schema() {
        let text = r#"{"race":17,"stores":[{"offset":130,"length":2,"in":"kernel","symbol":"ext4_inode_csum_set+0x7b",
            "module":"ext4","path":null,"file_offset":null,"source":null,"cpu":0,"pid":1,"tid":1,"comm":"a",
            "after_doorbell_us":1106.0,"certain":true,"stack":["ext4_fill_raw_inode+0x383"],"stack_by":"orc"}],
            "store_count":3,"submitter":null,"page":null,"unseen":null}"#;
        let culprit: Culprit = serde_json::from_str(text).unwrap();
        let blamed = culprit.blamed().unwrap();
        assert_eq!(blamed.name(), "ext4_inode_csum_set+0x7b [ext4]");
        assert_eq!((blamed.side, blamed.stack_by), (Side::Kernel, StackBy::Orc));
        let again: Culprit =
            serde_json::from_str(&serde_json::to_string(&culprit).unwrap()).unwrap();
        assert_eq!(again, culprit);
    }

    #[test]
    fn who_only_touched_is_not_to_blame() {
        let text = r#"{"race":1,"stores":[{"offset":0,"length":2,"in":"user","symbol":null,"module":null,
            "path":"/bin/dd","file_offset":4096,"source":null,"cpu":0,"pid":null,"tid":null,"comm":null,
            "after_doorbell_us":1.0,"certain":false,"stack":[],"stack_by":"none"}],
            "store_count":1,"submitter":null,"page":null,"unseen":"none explains them"}"#;
        let culprit: Culprit = serde_json::from_str(text).unwrap();
        assert_eq!(culprit.blamed(), None);
        assert_eq!(culprit.stores[0].name(), "/bin/dd byte 0x1000");
    }
}
