//! The file systems: `guest-scripts/filesystems`, which the scenarios read as well.

/// Why the table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileSystemsError {
    /// A line with too few columns.
    #[error(
        "filesystems, line {0}: write a name, a mount type, a package, mount options and a command"
    )]
    Columns(usize),
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// The name that `--fs` takes.
    pub name: String,
    /// The driver's name, which is also the type to mount; `None` for the disk itself.
    pub driver: Option<String>,
    /// The Debian package that brings the command that makes it.
    pub package: Option<String>,
    /// The program that makes it.
    pub mkfs: Option<String>,
}

/// Every file system that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystems(Vec<FileSystem>);

impl FileSystems {
    /// Reads the table.
    pub fn parse(text: &str) -> Result<FileSystems, FileSystemsError> {
        let rows = text.lines().enumerate().filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let systems: Result<Vec<FileSystem>, FileSystemsError> = rows
            .map(|(at, line)| parse_row(line).ok_or(FileSystemsError::Columns(at + 1)))
            .collect();
        systems.map(FileSystems)
    }

    /// The file system called `name`.
    pub fn get(&self, name: &str) -> Option<&FileSystem> {
        self.0.iter().find(|system| system.name == name)
    }

    /// All of them, in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = &FileSystem> {
        self.0.iter()
    }
}

/// Columns: name, mount type, package, mount options, command. `-` stands for nothing.
fn parse_row(line: &str) -> Option<FileSystem> {
    let mut words = line.split_whitespace();
    let mut column = || words.next();
    let some = |word: &str| (word != "-").then(|| word.to_owned());
    let name = column()?.to_owned();
    let driver = some(column()?);
    let package = some(column()?);
    let _mount_options = column()?;
    let mkfs = some(column()?);
    Some(FileSystem { name, driver, package, mkfs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_short_ones_named() {
        let table = "# comment\n\nraw - - - -\next4 ext4 e2fsprogs - mkfs.ext4 -q -F\n";
        let systems = FileSystems::parse(table).unwrap();
        assert_eq!(systems.get("raw").unwrap().mkfs, None);
        let ext4 = systems.get("ext4").unwrap();
        assert_eq!(ext4.mkfs.as_deref(), Some("mkfs.ext4"));
        assert_eq!(ext4.package.as_deref(), Some("e2fsprogs"));
        assert!(systems.get("ntfs").is_none());
        let short = FileSystems::parse("raw - - - -\next4 ext4");
        assert_eq!(short, Err(FileSystemsError::Columns(2)));
    }
}
