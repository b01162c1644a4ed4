//! The files that a verdict is written to, for every command that has one: a flag for each format.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use dixtrap::report::{BootStory, FORMATS, Format, verdict_json, write_whole};
use dixtrap::verdict::Verdict;

/// Where the verdict goes, in which formats.
#[derive(Debug)]
pub struct Formats(Vec<(&'static Format, PathBuf)>);

impl Args for Formats {
    fn augment_args(command: Command) -> Command {
        command.args(FORMATS.iter().map(|format| {
            Arg::new(format.flag)
                .long(format.flag)
                .value_name("F")
                .value_parser(value_parser!(PathBuf))
                .help(format!("Writes the verdict as {}", format.name))
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Formats {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let path = |format: &'static Format| {
            matches.get_one::<PathBuf>(format.flag).map(|path| (format, path.clone()))
        };
        Ok(Formats(FORMATS.iter().filter_map(path).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Formats {
    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports that could never be written are an error before the run, not after it.
    pub fn check_folders(&self) -> anyhow::Result<()> {
        for (_, path) in &self.0 {
            let folder =
                path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            ensure!(
                folder.is_dir(),
                "cannot write {}: there is no folder {}",
                path.display(),
                folder.display()
            );
            // /dev/null and pipes replace nothing and need no room beside them.
            if path.metadata().map_or(true, |old| old.is_file()) {
                tempfile::tempfile_in(folder)
                    .map_err(|error| error.kind())
                    .map_err(|kind| anyhow::anyhow!("cannot write {}: {kind}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Writes every report that can be written, and the verdict as JSON to `kept`; the first failure
    /// is the error. `records` reads what lies beside the verdict, where a format tells that.
    pub fn write(
        &self,
        verdict: &Verdict,
        kept: Option<&Path>,
        records: impl FnOnce() -> anyhow::Result<Vec<BootStory>>,
    ) -> anyhow::Result<()> {
        let asked = self.0.iter().any(|(format, _)| format.with_records.is_some());
        let boots = if asked { records()? } else { Vec::new() };
        let json = kept.map(|path| Ok::<_, anyhow::Error>((path, verdict_json(verdict)?)));
        let made = self.0.iter().map(|(format, path)| {
            let text = match format.with_records {
                Some(make) => make(verdict, &boots),
                None => (format.make)(verdict),
            };
            let text = text.map_err(anyhow::Error::from_boxed);
            let text = text.with_context(|| format!("cannot make {}", format.name))?;
            Ok((path.as_path(), text))
        });
        let texts = json.into_iter().chain(made).collect::<anyhow::Result<Vec<_>>>()?;
        let written: Vec<_> = texts.iter().map(|(path, text)| write_whole(path, text)).collect();
        Ok(written.into_iter().collect::<Result<(), _>>()?)
    }
}
