//! Several boots, or the verdicts of several shards, as one.

mod cells;
mod error;

use super::shard::{Given, what_is_wrong};
use super::{Cell, ExitStatus, Part, ShardOf, StopReason, Verdict};

pub use cells::merge_cells;
pub use error::MergeError;

impl Verdict {
    /// One verdict over the cells of all, each with the name of its file: a cell that several hold is
    /// one cell with the sum of what was seen and the worst of its outcomes. The time is what all took
    /// together. Where parts of a plan are missing, doubled or foreign it is an error, and says which.
    ///
    /// # Errors
    /// When their cells cannot stand in one verdict.
    pub fn merge(verdicts: Vec<(String, Verdict)>) -> Result<Verdict, MergeError> {
        let (_, first) = verdicts.first().ok_or(MergeError::Nothing)?;
        let parts_only =
            verdicts.iter().find_map(|(file, v)| Some((file, v, v.filtered.as_ref()?)));
        if let Some((file, verdict, filtered)) = parts_only {
            let (file, by) = (file.clone(), filtered.by.clone());
            return Err(MergeError::Filtered(file, verdict.cells.len(), filtered.of, by));
        }
        let version = first.version.clone();
        let mut others = verdicts.iter().map(|(_, verdict)| &verdict.version);
        if let Some(other) = others.find(|other| **other != version) {
            return Err(MergeError::Versions(version, other.clone()));
        }
        let started = verdicts.iter().map(|(_, v)| v.started).min().unwrap_or(first.started);
        let given: Vec<Given> = verdicts.iter().flat_map(|(file, v)| v.given(file)).collect();
        let mut wrong = what_is_wrong(&given);
        let parts: Vec<Part> = verdicts.iter().flat_map(|(_, v)| v.own_parts()).collect();
        let verdicts = without_copies(verdicts, &mut wrong);
        let seconds = verdicts.iter().map(|verdict| verdict.seconds).sum();
        let cut = parts.iter().filter_map(|part| stop_of(part.exit_status)).max();
        let boots = verdicts.iter().flat_map(|verdict| verdict.boots.clone()).collect();
        let cells: Vec<Cell> = verdicts.into_iter().flat_map(|verdict| verdict.cells).collect();
        let mut merged =
            Verdict::over(merge_cells(cells)?, cut, started, seconds).with_boots(boots);
        if let [only] = parts.as_slice() {
            merged.provenance = only.provenance.clone();
        }
        Ok(match wrong.is_empty() {
            true => Verdict { shard: plan_of(&parts), parts, ..merged },
            false => Verdict { parts, ..merged }.broken(wrong.join("; ")),
        })
    }

    /// The same cells, of which nothing can be said for this reason, beside those that are known.
    #[must_use]
    pub fn broken(self, reason: String) -> Verdict {
        let (verdict, exit_status) = (ExitStatus::Fault.ruling(), ExitStatus::Fault.code());
        let reasons: Vec<String> = self.reason.into_iter().chain([reason]).collect();
        Verdict { verdict, exit_status, shard: None, reason: Some(reasons.join("; ")), ..self }
    }

    /// What it was made of; of a run's own verdict, itself.
    fn own_parts(&self) -> Vec<Part> {
        let itself = || Part {
            shard: self.shard.clone(),
            started: self.started,
            seconds: self.seconds,
            exit_status: self.exit_status,
            provenance: self.provenance.clone(),
        };
        if self.parts.is_empty() { vec![itself()] } else { self.parts.clone() }
    }

    fn given(&self, file: &str) -> Vec<Given> {
        let given = |part: Part| {
            let (file, Part { shard, started, provenance, .. }) = (file.to_owned(), part);
            let provenance = provenance.unwrap_or_default();
            let (kernels, images) = (provenance.kernels, provenance.kernel_sha256);
            Given { file, shard, started, kernels, images }
        };
        self.own_parts().into_iter().map(given).collect()
    }
}

/// The verdicts without those that are there twice, so that nothing counts twice. Of one that does not
/// know its plan nobody has told yet.
fn without_copies(verdicts: Vec<(String, Verdict)>, wrong: &mut Vec<String>) -> Vec<Verdict> {
    let mut once: Vec<(String, Verdict)> = Vec::new();
    for (file, verdict) in verdicts {
        match once.iter().find(|(_, known)| *known == verdict) {
            Some((known, same)) if same.own_parts().iter().all(|part| part.shard.is_none()) => {
                wrong.push(format!("doubled: {file} is the same as {known}"));
            }
            Some(_) => {}
            None => once.push((file, verdict)),
        }
    }
    once.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The plan that all parts are of, as one whole.
fn plan_of(parts: &[Part]) -> Option<ShardOf> {
    let plan = &parts.first()?.shard.as_ref()?.plan;
    let same = |part: &Part| part.shard.as_ref().is_some_and(|shard| shard.plan == *plan);
    parts.iter().all(same).then(|| ShardOf::whole(plan))
}

/// What cut a finished run short, read back from its status.
fn stop_of(exit_status: u8) -> Option<StopReason> {
    let is = |status: ExitStatus| exit_status == status.code();
    if is(ExitStatus::Interrupted) {
        Some(StopReason::Interrupted)
    } else {
        is(ExitStatus::Fault).then_some(StopReason::Fault)
    }
}

#[cfg(test)]
mod tests;
