//! The files that a verdict is written to, for every command that has one.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use dixtrap::report::{verdict_html, verdict_json, verdict_junit, verdict_ktap, write_whole};
use dixtrap::verdict::Verdict;

/// Where the verdict goes.
#[derive(Debug, clap::Args)]
pub struct Formats {
    /// Writes the verdict as JUnit XML
    #[arg(long, value_name = "F")]
    junit: Option<PathBuf>,
    /// Writes the verdict as KTAP
    #[arg(long, value_name = "F")]
    ktap: Option<PathBuf>,
    /// Writes the verdict as JSON
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
    /// Writes the verdict as an HTML page
    #[arg(long, value_name = "F")]
    html: Option<PathBuf>,
}

impl Formats {
    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.paths().next().is_none()
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.json, &self.junit, &self.ktap, &self.html].into_iter().flatten()
    }

    /// Reports that could never be written are an error before the run, not after it.
    pub fn check_folders(&self) -> anyhow::Result<()> {
        for path in self.paths() {
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
    /// is the error.
    pub fn write(&self, verdict: &Verdict, kept: Option<&Path>) -> anyhow::Result<()> {
        let json = verdict_json(verdict)?;
        let junit = verdict_junit(verdict).context("cannot make JUnit XML")?;
        let reports = [
            (kept, &json),
            (self.json.as_deref(), &json),
            (self.junit.as_deref(), &junit),
            (self.ktap.as_deref(), &verdict_ktap(verdict)),
            (self.html.as_deref(), &verdict_html(verdict)),
        ];
        let written =
            reports.map(|(path, text)| path.map_or(Ok(()), |path| write_whole(path, text)));
        Ok(written.into_iter().collect::<Result<(), _>>()?)
    }
}
