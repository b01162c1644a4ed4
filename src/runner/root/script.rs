//! The scenario that runs a user's command in a root.

use super::made::MadeRoot;
use crate::runner::host::again::quote;

const IN_ROOT: &str = include_str!("in-root.sh");

/// The script: a survey, on these file systems, of what the command writes.
pub fn script(root: &MadeRoot, file_systems: &str, command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    let (kind, drivers, identity) = (root.kind(), root.drivers(), root.identity());
    let words = words.join(" ");
    format!(
        r#"#!/bin/sh
# description: A command of the user's own, in a root file system of its own.
# fs: {file_systems}
# stable-writes: any
# expect: survey
# min-blocks: 1
# drivers: {drivers}
# It runs in: {identity}
. "${{DIXTRAP_LIB:-$(dirname "$0")}}/lib.sh"
{IN_ROOT}
prepare "$@"
enter_root {kind}
say writing
in_root {words}
sync
[ -z "$mounted" ] || tell_owners
end_processes
[ "$root_status" = 0 ] || die "the command ended with exit status $root_status"
leave_root
finish
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::root::RootSpec;
    use crate::runner::select::scenario::Scenario;

    #[test]
    fn the_command_is_one_whatever_is_in_it_and_the_header_is_a_scenarios() {
        let scratch = tempfile::tempdir().unwrap();
        let root = MadeRoot::make(&RootSpec::Host, scratch.path(), &|_| ()).unwrap();
        let command = ["sh", "-c", "echo '$(reboot)'\n# expect: stable"].map(str::to_owned);
        let text = script(&root, "ext4", &command);
        let scenario = Scenario::parse("command", text.as_bytes(), true).unwrap();
        assert_eq!(scenario.fs, ["ext4"]);
        assert_eq!(scenario.drivers, ["overlay", "9p", "9pnet_virtio"]);
        let line = text.lines().find(|line| line.starts_with("in_root sh")).unwrap();
        let run =
            format!("in_root() {{ printf '<%s>' \"$@\"; }}\n{}", &text[text.find(line).unwrap()..]);
        let run = &run[..run.find("\nsync").unwrap()];
        let said = std::process::Command::new("sh").args(["-c", run]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said, "<sh><-c><echo '$(reboot)'\n# expect: stable>");
    }
}
