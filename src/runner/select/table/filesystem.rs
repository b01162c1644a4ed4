//! The file systems: `guest-scripts/filesystems`, which the scenarios read as well.

/// Why the table cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileSystemsError {
    /// A line with too few columns.
    #[error(
        "filesystems, line {0}: write a name, how it is used, drivers, a package, mount options and a command"
    )]
    Columns(usize),
    /// A default that no line describes.
    #[error("filesystems: '# default:' names {0}, which no line describes")]
    Default(String),
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// The name that `--fs` takes.
    pub name: String,
    /// The drivers that the kernel needs for it; none for the disk itself.
    pub drivers: Vec<String>,
    /// Modules that it is better with, where the kernel has them as such.
    pub wishes: Vec<String>,
    /// The Debian package that brings the command that makes it.
    pub package: Option<String>,
    /// The program that makes it.
    pub mkfs: Option<String>,
    /// The bytes of its blocks, where the command says so: no less than a block of the disk.
    pub block_bytes: Option<u64>,
}

/// Every file system that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystems {
    systems: Vec<FileSystem>,
    defaults: Vec<String>,
}

/// Begins the line that says what is run where nothing is asked for.
const DEFAULT: &str = "# default:";

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
        let systems = systems?;
        let line = text.lines().find_map(|line| line.strip_prefix(DEFAULT)).unwrap_or("");
        let defaults: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let known = |name: &&String| systems.iter().any(|system| system.name == **name);
        match defaults.iter().find(|name| !known(name)) {
            Some(name) => Err(FileSystemsError::Default(name.clone())),
            None => Ok(FileSystems { systems, defaults }),
        }
    }

    /// Those that are run where none is asked for.
    pub fn defaults(&self) -> &[String] {
        &self.defaults
    }

    /// The file system called `name`.
    pub fn get(&self, name: &str) -> Option<&FileSystem> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// All of them, in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = &FileSystem> {
        self.systems.iter()
    }
}

/// Columns: name, use, drivers, package, mount options, command. `-` stands for nothing. How it is
/// used is the guest's business.
fn parse_row(line: &str) -> Option<FileSystem> {
    let mut words = line.split_whitespace();
    let mut column = || words.next();
    let some = |word: &str| (word != "-").then(|| word.to_owned());
    let name = column()?.to_owned();
    let _use = column()?;
    let drivers = some(column()?);
    let package = some(column()?);
    let _mount_options = column()?;
    let mkfs = some(column()?);
    let named = drivers.unwrap_or_default();
    let (mut drivers, mut wishes) = (Vec::new(), Vec::new());
    for name in named.split(',').filter(|name| !name.is_empty()) {
        match name.strip_suffix('?') {
            Some(wish) => wishes.push(wish.to_owned()),
            None => drivers.push(name.to_owned()),
        }
    }
    let block_bytes = words.skip_while(|word| *word != "-b").nth(1);
    let block_bytes = block_bytes.and_then(|bytes| bytes.parse().ok());
    Some(FileSystem { name, drivers, wishes, package, mkfs, block_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_short_ones_named() {
        let table =
            "# c\n\nraw disk - - - -\nvfat vfat vfat,nls_ascii? dosfstools - mkfs.vfat -I\n";
        let systems = FileSystems::parse(table).unwrap();
        assert_eq!(systems.get("raw").unwrap().mkfs, None);
        let vfat = systems.get("vfat").unwrap();
        assert_eq!(vfat.mkfs.as_deref(), Some("mkfs.vfat"));
        assert_eq!(vfat.package.as_deref(), Some("dosfstools"));
        assert_eq!(
            (&vfat.drivers[..], &vfat.wishes[..]),
            (&["vfat".into()][..], &["nls_ascii".into()][..])
        );
        assert!(systems.get("ntfs").is_none());
        let small = FileSystems::parse("s ext4 ext4 - - mkfs.ext4 -q -b 1024 -O x").unwrap();
        assert_eq!(small.get("s").unwrap().block_bytes, Some(1024));
        let short = FileSystems::parse("raw disk - - - -\next4 ext4");
        assert_eq!(short, Err(FileSystemsError::Columns(2)));
        let known = FileSystems::parse("# default: raw\nraw disk - - - -").unwrap();
        assert_eq!(known.defaults(), ["raw"]);
        let unknown = FileSystems::parse("# default: raw ntfs\nraw disk - - - -");
        assert_eq!(unknown, Err(FileSystemsError::Default("ntfs".to_owned())));
    }
}
