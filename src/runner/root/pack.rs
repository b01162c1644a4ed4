//! A read-only image of a folder or an archive: squashfs, which every kernel of Debian has. Not compressed: an
//! emulated guest would take longer to unpack it than to read it.

use std::path::Path;
use std::time::Duration;

use crate::runner::host::tools::{Tool, ToolError};

const PACKAGE: &str = "squashfs-tools";
/// How long packing may take: some gigabytes from a slow disk.
const LIMIT: Duration = Duration::from_secs(1_800);
const PLAIN: [&str; 6] = ["-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet"];

/// Packs what is in `folder` and on its own file system.
pub(super) fn folder(folder: &Path, image: &Path) -> Result<(), ToolError> {
    let tool = Tool::find("mksquashfs", PACKAGE)?.limit(LIMIT).arg(folder).arg(image);
    // What a running system has there is not the root's.
    let left_out = ["proc/*", "sys/*", "dev/*", "run/*"];
    let tool = tool.args(PLAIN).args([
        // The same folder is the same image.
        "-mkfs-time",
        "0",
        "-noappend",
        "-one-file-system",
        "-wildcards",
        "-e",
    ]);
    tool.args(left_out).output().map(drop)
}

/// Packs what is in a tar archive.
pub(super) fn archive(archive: &Path, image: &Path) -> Result<(), ToolError> {
    // It reads the archive from its standard input.
    let tool = Tool::find("bash", "bash")?.limit(LIMIT);
    Tool::find("sqfstar", PACKAGE)?;
    let tool = tool.args(["-c", "exec sqfstar \"${@:2}\" <\"$1\"", "bash"]).arg(archive);
    tool.args(PLAIN).arg(image).output().map(drop)
}
