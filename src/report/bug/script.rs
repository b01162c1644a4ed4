//! A scenario with everything that it sources, as one file.

/// The script `name`.sh of `files`, with the library and the tables that it reads written out beside it when
/// it runs; nothing where there is no such script. The helper program is all that it needs besides.
pub fn stand_alone<'a>(name: &str, files: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let script = format!("{name}.sh");
    files(&script)?;
    let mut out = format!(
        "#!/bin/sh\n\
         # The scenario {name} of dixtrap with all that it reads: sh THIS /dev/vdb\n\
         # EVERYTHING ON THAT DISK IS LOST. The environment may set:\n\
         #   DIXTRAP_GUEST    the helper program dixtrap-guest, linked statically ('make build' makes it)\n\
         #   DIXTRAP_FS       the file system (see 'filesystems' below)\n\
         #   DIXTRAP_STABLE   on or off: the queue's stable_writes\n\
         #   DIXTRAP_SECONDS  how long to write\n\
         set -eu\n\
         parts=$(mktemp -d)\n\
         trap 'rm -rf \"$parts\"' EXIT\n"
    );
    for file in ["lib.sh", "filesystems", script.as_str()] {
        let text = files(file)?;
        out.push_str(&format!("cat >\"$parts/{file}\" <<'{END}'\n{text}"));
        if !text.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&format!("{END}\n"));
    }
    out.push_str(&format!(
        "DIXTRAP_GUEST=${{DIXTRAP_GUEST:-$(command -v dixtrap-guest || echo \"$(dirname \"$0\")/dixtrap-guest\")}}\n\
         export DIXTRAP_GUEST\n\
         sh \"$parts/{script}\" \"$@\"\n"
    ));
    Some(out)
}

/// Ends a part; no script has such a line.
const END: &str = "END-OF-THIS-PART-OF-THE-SCENARIO";
