//! Manual pages and shell completions, out of the programs' own arguments.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, print};

/// Arguments of `dixtrap completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `dixtrap manual`.
#[derive(Debug, clap::Args)]
pub struct ManualArgs {
    /// Where to: `man1`, and a folder for each shell, are made there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// The shells that completions are installed for, the folder of each, and how a file is called there.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/site-functions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];

/// Prints the completions of `dixtrap` for one shell.
pub fn completions(args: CompletionArgs) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dixtrap", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the pages and completions of `dixtrap` and `dixtrapd` for `make install`.
pub fn manual(args: ManualArgs) -> anyhow::Result<ExitCode> {
    for command in [Cli::command(), dixtrap::config::Args::command()] {
        pages(&command, &args.dir.join("man/man1"))?;
        for (shell, folder) in SHELLS {
            let folder = args.dir.join(folder);
            make(&folder)?;
            let (mut command, name) = (command.clone(), command.get_name().to_owned());
            clap_complete::generate_to(shell, &mut command, name, &folder)
                .with_context(|| format!("cannot write to {}", folder.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A page for the command, and one for each of its subcommands, as git has them: dixtrap-run(1).
fn pages(command: &Command, folder: &Path) -> anyhow::Result<()> {
    make(folder)?;
    let name = command.get_name();
    page(command.clone(), name, folder)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let whole = format!("{name}-{}", sub.get_name());
        let spoken = format!("{name} {}", sub.get_name());
        page(sub.clone().bin_name(spoken).display_name(&whole), &whole, folder)?;
    }
    Ok(())
}

fn page(command: Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.1"));
    let written = File::create(&path).and_then(|mut file| {
        clap_mangen::Man::new(command.version(env!("CARGO_PKG_VERSION"))).render(&mut file)
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
